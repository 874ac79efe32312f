"""Classifiers on the unit sphere with a margin: ArcFace's is in an angle, CosFace's in a cosine."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from layers.margin_heads import ArcFaceHead, CosFaceHead, MarginHead
from modeling.arguments import check_range
from modeling.losses import LOSSES


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


@LOSSES.register("arcface")
class ArcFace(MarginLoss):
    """A margin in the angle (Deng et al., ArcFace: additive angular margin loss for deep face recognition, 2019).

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


@LOSSES.register("cosface")
class CosFace(MarginLoss):
    """A margin in the cosine, 0 to 1 (Wang et al., CosFace: large margin cosine loss for deep face recognition, 2018).

    The other arguments are those of ArcFace.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(
        self, num_classes: int, feature_dim: int, label_smoothing: float = 0.0, scale: float = 64.0, margin: float = 0.35
    ) -> None:
        check_range("the loss cosface: scale", scale, 1e-6)
        check_range("the loss cosface: margin", margin, 0, 1)
        super().__init__(CosFaceHead(feature_dim, num_classes, scale, margin), label_smoothing)
