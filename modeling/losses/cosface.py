"""CosFace: a classifier on the unit sphere with a margin in a cosine."""

from __future__ import annotations

from layers.margin_heads import CosFaceHead
from modeling.arguments import check_range
from modeling.losses import LOSSES
from modeling.losses.margin_loss import MarginLoss


@LOSSES.register("cosface")
class CosFace(MarginLoss):
    """Wang et al., CosFace: large margin cosine loss for deep face recognition, 2018.

    Args:
        num_classes: C.
        feature_dim: D.
        label_smoothing: share of the target spread evenly over all classes.
        scale: above 0; 64 in the paper, less for few classes.
        margin: of the cosine, 0 to 1.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self, num_classes: int, feature_dim: int, label_smoothing: float = 0.0, scale: float = 64.0, margin: float = 0.35
    ) -> None:
        check_range("the loss cosface: scale", scale, 1e-6)
        check_range("the loss cosface: margin", margin, 0, 1)
        super().__init__(CosFaceHead(feature_dim, num_classes, scale, margin), label_smoothing)
