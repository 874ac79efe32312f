"""What the losses with a margin on the unit sphere share: cross entropy over the logits of a head of their own."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from layers.margin_heads import MarginHead


class MarginLoss(nn.Module):
    """Cross entropy over scaled cosines between features and the head's own weights, one direction a class. The model's
    classifier is not needed: MODEL.ARGS {classifier: false}.

    Args:
        head: makes the right class harder.
        label_smoothing: share of the target spread evenly over all classes.
    """

    needs = "feature"
    target_kinds = ("class", "identity")

    def __init__(self, head: MarginHead, label_smoothing: float) -> None:
        super().__init__()
        self.head, self.label_smoothing = head, label_smoothing

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The entry "feature", B x D, against batch["target"], B. An empty batch has loss 0."""
        target = batch["target"]
        logits = self.head(outputs["feature"], target)
        total = functional.cross_entropy(logits, target, reduction="sum", label_smoothing=self.label_smoothing)
        return {"loss": total / max(len(target), 1)}
