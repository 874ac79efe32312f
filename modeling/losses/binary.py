"""Binary cross entropy of each class by itself: for images that bear several labels, or none."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from modeling.losses import LOSSES
from modeling.losses.dense_targets import class_weights_tensor, dense_targets
from modeling.losses.outputs import entry, mean_over_heads


@LOSSES.register("binary")
class Binary(nn.Module):
    """Sigmoid cross entropy, the mean over classes, then over samples.

    Args:
        num_classes: C.
        label_smoothing: share of a sample's targets spread evenly over all classes.
        class_weights: C weights, scaled to a mean of 1; () for equal ones.

    Raises:
        UserError: the number of weights is not C.
    """

    needs = "logits"
    soft_targets = True
    target_kinds = ("class", "labels")
    weight: Tensor | None

    def __init__(self, num_classes: int, label_smoothing: float = 0.0, class_weights: Sequence[float] = ()) -> None:
        super().__init__()
        self.num_classes, self.label_smoothing = num_classes, label_smoothing
        self.register_buffer("weight", class_weights_tensor(class_weights, num_classes), persistent=False)

    def forward(self, outputs: Tensor | dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits B x C (or the entry "logits") against batch["target"]: B x C of 0 to 1, or class indices B.

        An empty batch has loss 0.
        """
        target = dense_targets(batch["target"], self.num_classes, self.label_smoothing)
        return {"loss": mean_over_heads(entry(outputs, "logits"), lambda logits: self._loss(logits, target))}

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        total = functional.binary_cross_entropy_with_logits(logits.float(), target, self.weight, reduction="sum")
        return total / max(logits.numel(), 1)
