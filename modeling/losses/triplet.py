"""The triplet loss with the hardest images of a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from layers.distances import DISTANCES, pairwise_distances
from modeling.arguments import check_choice, check_range
from modeling.losses import LOSSES
from modeling.losses.pairs import PairLoss


@LOSSES.register("triplet")
class TripletLoss(PairLoss):
    """Each image is to be nearer to the farthest image of its identity than to the nearest of another, by a margin
    (Hermans et al., In defense of the triplet loss for person re-identification, 2017).

    Args:
        margin: in units of the distance; 0 takes the soft margin, log(1 + exp(difference)).
        distance: euclidean or cosine.

    Raises:
        UserError: another distance, or a margin below 0.
    """

    def __init__(self, margin: float = 0.3, distance: str = "euclidean") -> None:
        super().__init__()
        check_choice("the loss triplet: distance", distance, DISTANCES)
        check_range("the loss triplet: margin", margin, 0)
        self.margin, self.distance = margin, distance

    def _loss(self, features: Tensor, same: Tensor, positive: Tensor) -> Tensor:
        distances = pairwise_distances(features, features, self.distance)
        if not len(features):
            return distances.sum()
        farthest = distances.masked_fill(~positive, -torch.inf).amax(dim=1)
        nearest = distances.masked_fill(same, torch.inf).amin(dim=1)
        gap = farthest - nearest  # minus infinity where an image lacks one of them: it counts 0, and nobody asks the device
        terms = functional.softplus(gap) if self.margin == 0 else (gap + self.margin).clamp(min=0)
        return terms.sum() / len(features)
