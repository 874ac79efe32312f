"""Center loss: the features of an identity are drawn to a point of their own, which is learnt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from modeling.losses import LOSSES
from modeling.losses.outputs import mean_over_heads


@LOSSES.register("center")
class CenterLoss(nn.Module):
    """Half the squared distance of an embedding to the centre of its class (Wen et al., A discriminative feature learning
    approach for deep face recognition, 2016). By itself it is least where all features are one point: it goes with another.

    The centres are parameters, trained by the same optimizer. Their gradient is as small as the loss's weight, so they want a
    rate of their own, and no decay. With LOSS.TERMS [[cross_entropy, 1], [center, 0.0005]] and BASE_LR 0.05 that is
    SOLVER.PARAM_GROUPS [["loss.terms.1.centers", 20000, 0]]: a factor of 0.5 / (0.0005 x 0.05), for the paper's rate of 0.5.

    Args:
        num_classes: C.
        feature_dim: D.
    """

    needs = "embedding"
    target_kinds = ("class", "identity")

    def __init__(self, num_classes: int, feature_dim: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, feature_dim))

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The entry "embedding", B x D, against batch["target"], B. An empty batch has loss 0."""
        return {"loss": mean_over_heads(outputs["embedding"], lambda features: self._loss(features, batch["target"]))}

    def _loss(self, features: Tensor, target: Tensor) -> Tensor:
        return (features.float() - self.centers.float()[target]).square().sum() / (2 * max(len(target), 1))
