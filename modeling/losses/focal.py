"""Focal loss: samples that are right already count less (Lin et al., Focal Loss for Dense Object Detection, 2017)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from modeling.losses import LOSSES
from modeling.losses.dense_targets import class_weights_tensor, dense_targets
from modeling.losses.outputs import entry, mean_over_heads


@LOSSES.register("focal")
class Focal(nn.Module):
    """Softmax cross entropy whose every term is multiplied by (1 - p) ** gamma, p being the probability of its class.

    It is the sum over samples divided by their number, also with class weights, so that micro-batches add up.

    Args:
        num_classes: C.
        focal_gamma: 0 is cross entropy; the paper takes 2.
        label_smoothing: share of the target spread evenly over all classes.
        class_weights: C weights (the paper's alpha), scaled to a mean of 1; () for equal ones.

    Raises:
        UserError: the number of weights is not C.
    """

    needs = "logits"
    soft_targets = True
    target_kinds = ("class", "identity")
    weight: Tensor | None

    def __init__(
        self,
        num_classes: int,
        focal_gamma: float = 2.0,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] = (),
    ) -> None:
        super().__init__()
        self.num_classes, self.gamma, self.label_smoothing = num_classes, focal_gamma, label_smoothing
        self.register_buffer("weight", class_weights_tensor(class_weights, num_classes), persistent=False)

    def forward(self, outputs: Tensor | dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits B x C (or the entry "logits") against batch["target"], B or soft B x C. An empty batch has loss 0."""
        target = batch["target"]
        return {"loss": mean_over_heads(entry(outputs, "logits"), lambda logits: self._loss(logits, target))}

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        log_p = logits.float().log_softmax(dim=1)
        terms = -dense_targets(target, self.num_classes, self.label_smoothing) * log_p
        if self.gamma:
            # 1 - p by expm1, and never quite 0: there the gradient of a power below 1 is infinite
            terms = terms * (-log_p.expm1()).clamp(min=1e-12).pow(self.gamma)
        if self.weight is not None:
            terms = terms * self.weight
        return terms.sum() / max(len(logits), 1)
