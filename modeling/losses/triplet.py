"""The triplet loss with the hardest images of a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from layers.distances import pairwise_distances
from modeling.losses import LOSSES


@LOSSES.register("triplet")
class TripletLoss(nn.Module):
    """Each image is to be nearer to the farthest image of its identity than to the nearest of another, by a margin
    (Hermans et al., In defense of the triplet loss for person re-identification, 2017).

    Args:
        margin: in units of the distance; 0 takes the soft margin, log(1 + exp(difference)).
        distance: euclidean or cosine.
    """

    target_kinds = ("class", "identity")

    def __init__(self, margin: float = 0.3, distance: str = "euclidean", feature_dim: int = 0) -> None:
        super().__init__()
        self.margin, self.distance = margin, distance

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The entry "embedding" (or "feature"), B x D, against batch["target"], B. An image without another of its
        identity, or of another one, in the batch counts 0."""
        features, target = outputs["embedding" if "embedding" in outputs else "feature"].float(), batch["target"]
        distances = pairwise_distances(features, features, self.distance)
        same = target[:, None] == target[None, :]
        positive = distances.masked_fill(~same, -torch.inf).amax(dim=1) if len(target) else distances.sum(dim=1)
        negative = distances.masked_fill(same, torch.inf).amin(dim=1) if len(target) else distances.sum(dim=1)
        counts = (same.sum(dim=1) > 1) & ~same.all(dim=1)
        gap = (positive - negative)[counts]
        terms = functional.softplus(gap) if self.margin == 0 else (gap + self.margin).clamp(min=0)
        return {"loss": terms.sum() / max(len(target), 1)}
