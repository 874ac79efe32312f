"""Classifiers on the unit sphere that ask for a margin in training: their weights are one direction a class."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from layers.distances import cosines


class MarginHead(nn.Module):
    """Logits are `scale` times the cosine between a feature and a class's direction; subclasses make that of the right class
    smaller.

    Args:
        feature_dim: D.
        num_classes: C.
        scale: s of the papers; the length that all features are given.
        margin: m of the papers.
    """

    def __init__(self, feature_dim: int, num_classes: int, scale: float, margin: float) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin
        self.weight = nn.Parameter(torch.empty(num_classes, feature_dim))
        nn.init.xavier_normal_(self.weight)

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """B x D and the classes B -> logits B x C in float32, also under autocast."""
        cosine = cosines(features, self.weight)
        right = cosine.gather(1, target[:, None])
        return self.scale * cosine.scatter(1, target[:, None], self.harder(right))

    def harder(self, cosine: Tensor) -> Tensor:
        """What takes the place of the right class's cosine."""
        raise NotImplementedError


class CosFaceHead(MarginHead):
    """cos(angle) - m (Wang et al., CosFace: large margin cosine loss for deep face recognition, 2018)."""

    def harder(self, cosine: Tensor) -> Tensor:
        """B x 1 -> B x 1."""
        return cosine - self.margin


class ArcFaceHead(MarginHead):
    """cos(angle + m) (Deng et al., ArcFace: additive angular margin loss for deep face recognition, 2019).

    Where angle + m is beyond 180 degrees the cosine would rise again: there it is cos(angle) - m sin(m), as the authors do.
    """

    def harder(self, cosine: Tensor) -> Tensor:
        """B x 1 -> B x 1."""
        sine = (1 - cosine.square()).clamp(min=1e-12).sqrt()
        beyond = cosine <= -math.cos(self.margin)
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        return torch.where(beyond, cosine - self.margin * math.sin(self.margin), turned)
