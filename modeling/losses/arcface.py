"""ArcFace: a classifier on the unit sphere with a margin in an angle."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from layers.margin_heads import ArcFaceHead
from modeling.arguments import check_range
from modeling.losses import LOSSES


@LOSSES.register("arcface")
class ArcFace(nn.Module):
    """Cross entropy over scaled cosines between features and the loss's own weights, one direction a class
    (Deng et al., ArcFace: additive angular margin loss for deep face recognition, 2019).

    The model's classifier is not needed: MODEL.ARGS {classifier: false}.

    Args:
        num_classes: C.
        feature_dim: D.
        label_smoothing: share of the target spread evenly over all classes.
        scale: above 0; 64 in the paper, less for few classes.
        margin: of the angle, in radians, 0 to pi / 2.

    Raises:
        UserError: an argument is out of range.
    """

    needs = "feature"
    target_kinds = ("class", "identity")

    def __init__(
        self, num_classes: int, feature_dim: int, label_smoothing: float = 0.0, scale: float = 64.0, margin: float = 0.5
    ) -> None:
        super().__init__()
        check_range("the loss arcface: scale", scale, 1e-6)
        check_range("the loss arcface: margin", margin, 0, math.pi / 2)
        self.head, self.label_smoothing = ArcFaceHead(feature_dim, num_classes, scale, margin), label_smoothing

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The entry "feature", B x D, against batch["target"], B. An empty batch has loss 0."""
        target = batch["target"]
        logits = self.head(outputs["feature"], target)
        total = functional.cross_entropy(logits, target, reduction="sum", label_smoothing=self.label_smoothing)
        return {"loss": total / max(len(target), 1)}
