"""Distances between two sets of vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

DISTANCES = ("cosine", "euclidean")


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """A x D and B x D -> A x B, -1 to 1; in float32, also under autocast."""
    with torch.autocast(a.device.type, enabled=False):
        return functional.normalize(a.float(), dim=1) @ functional.normalize(b.float(), dim=1).T


def pairwise_distances(a: Tensor, b: Tensor, kind: str = "euclidean") -> Tensor:
    """A x D and B x D -> A x B: Euclidean distances, or cosine ones (1 - cosine, 0 to 2); in float32, also under autocast.

    The gradient of a Euclidean distance of 0 is 0.
    """
    if kind == "cosine":
        return 1 - cosines(a, b)
    assert kind == "euclidean", f"a distance is euclidean or cosine, not {kind}"
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        squares = torch.addmm(a.square().sum(dim=1, keepdim=True) + b.square().sum(dim=1), a, b.T, alpha=-2)
    return squares.clamp(min=1e-12).sqrt()
