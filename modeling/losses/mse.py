"""Mean squared error: for regressions, and as an alternative to cross entropy (Hui and Belkin, 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from modeling.losses import LOSSES
from modeling.losses.dense_targets import class_weights_tensor, dense_targets


@LOSSES.register("mse")
class MeanSquaredError(nn.Module):
    """The mean over samples of the squared error, averaged over the values of a sample.

    Args:
        num_classes: C; where it is more than 1, class indices are compared as one-hot rows.
        class_weights: C weights of the classes' errors, scaled to a mean of 1; () for equal ones.

    Raises:
        UserError: the number of weights is not C.
    """

    soft_targets = True
    weight: Tensor | None

    def __init__(self, num_classes: int = 1, class_weights: Sequence[float] = ()) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("weight", class_weights_tensor(class_weights, num_classes), persistent=False)

    def forward(self, outputs: Tensor | dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Predictions B, B x 1 or B x C (or the entry "prediction" or "logits") against batch["target"], B or B x C.

        An empty batch has loss 0.
        """
        if isinstance(outputs, dict):
            outputs = outputs["prediction"] if "prediction" in outputs else outputs["logits"]
        target = batch["target"]
        target = dense_targets(target, self.num_classes) if self.num_classes > 1 else target.float()
        square = (outputs.float().reshape(target.shape) - target).square()
        if self.weight is not None:
            square = square * self.weight
        return {"loss": square.sum() / max(square.numel(), 1)}
