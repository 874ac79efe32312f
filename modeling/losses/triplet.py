"""The triplet loss with the hardest images of a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from layers.distances import DISTANCES, pairwise_distances
from modeling.arguments import check_choice, check_range
from modeling.losses import LOSSES
from modeling.losses.outputs import mean_over_heads
from modeling.losses.pairs import identity_pairs


@LOSSES.register("triplet")
class TripletLoss(nn.Module):
    """Each image is to be nearer to the farthest image of its identity than to the nearest of another, by a margin
    (Hermans et al., In defense of the triplet loss for person re-identification, 2017).

    Args:
        margin: in units of the distance; 0 takes the soft margin, log(1 + exp(difference)).
        distance: euclidean or cosine.

    Raises:
        UserError: another distance, or a margin below 0.
    """

    needs = "embedding"
    wants_pairs = True
    target_kinds = ("class", "identity")

    def __init__(self, margin: float = 0.3, distance: str = "euclidean") -> None:
        super().__init__()
        check_choice("the loss triplet: distance", distance, DISTANCES)
        check_range("the loss triplet: margin", margin, 0)
        self.margin, self.distance = margin, distance

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The entry "embedding", B x D, against batch["target"], B; batch["index"] tells copies of one image apart from another
        image. An image without another of its identity, or of another one, in the batch counts 0; an empty batch has loss 0."""
        pairs = identity_pairs(batch)
        return {"loss": mean_over_heads(outputs["embedding"], lambda features: self._loss(features, *pairs))}

    def _loss(self, features: Tensor, same: Tensor, positive: Tensor) -> Tensor:
        distances = pairwise_distances(features, features, self.distance)
        if not len(features):
            return distances.sum()
        farthest = distances.masked_fill(~positive, -torch.inf).amax(dim=1)
        nearest = distances.masked_fill(same, torch.inf).amin(dim=1)
        counts = positive.any(dim=1) & ~same.all(dim=1)
        gap = (farthest - nearest)[counts]
        terms = functional.softplus(gap) if self.margin == 0 else (gap + self.margin).clamp(min=0)
        return terms.sum() / len(features)
