"""ArcFace: a classifier on the unit sphere with a margin in an angle."""

from __future__ import annotations

import math

from layers.margin_heads import ArcFaceHead
from modeling.arguments import check_range
from modeling.losses import LOSSES
from modeling.losses.margin_loss import MarginLoss


@LOSSES.register("arcface")
class ArcFace(MarginLoss):
    """Deng et al., ArcFace: additive angular margin loss for deep face recognition, 2019.

    Args:
        num_classes: C.
        feature_dim: D.
        label_smoothing: share of the target spread evenly over all classes.
        scale: above 0; 64 in the paper, less for few classes.
        margin: of the angle, in radians, 0 to pi / 2.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self, num_classes: int, feature_dim: int, label_smoothing: float = 0.0, scale: float = 64.0, margin: float = 0.5
    ) -> None:
        check_range("the loss arcface: scale", scale, 1e-6)
        check_range("the loss arcface: margin", margin, 0, math.pi / 2)
        super().__init__(ArcFaceHead(feature_dim, num_classes, scale, margin), label_smoothing)
