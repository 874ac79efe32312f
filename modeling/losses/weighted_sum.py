"""Several losses at once: their weighted sum, each logged by its own name."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class WeightedSum(nn.Module):
    """What LOSS.TERMS makes.

    Args:
        terms: (loss, name, weight) each. What a loss calls "loss" becomes "loss_<name>", "loss_<part>" becomes
            "loss_<name>_<part>"; both are logged as they are trained on, times their weight.

    Attributes:
        target_kinds, soft_targets: what all of them take.
    """

    def __init__(self, terms: Sequence[tuple[nn.Module, str, float]]) -> None:
        super().__init__()
        self.terms = nn.ModuleList(loss for loss, _, _ in terms)
        self.weights = [weight for _, _, weight in terms]
        names = [name for _, name, _ in terms]
        self.names = [f"{name}{names[:i].count(name) + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]
        declared: list[tuple[str, ...] | None] = [getattr(loss, "target_kinds", None) for loss, _, _ in terms]
        kinds = [set(of) for of in declared if of is not None]
        if kinds:
            self.target_kinds = tuple(sorted(set.intersection(*kinds)))
        self.soft_targets = all(getattr(loss, "soft_targets", False) for loss, _, _ in terms)

    def forward(self, outputs: Tensor | dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of each loss its entries, renamed and weighted; what is no loss keeps its value."""
        found = {}
        for loss, name, weight in zip(self.terms, self.names, self.weights, strict=True):
            for entry, value in loss(outputs, batch).items():
                trained = entry.startswith("loss")
                label = f"loss_{name}{entry.removeprefix('loss')}" if trained else f"{name}_{entry}"
                found[label] = weight * value if trained else value
        return found
