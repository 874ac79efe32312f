"""Distances between two sets of vectors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def pairwise_distances(a: Tensor, b: Tensor, kind: str = "euclidean") -> Tensor:
    """A x D and B x D -> A x B: Euclidean distances, or cosine ones (1 - cosine, 0 to 2).

    The gradient of a Euclidean distance of 0 is 0.
    """
    if kind == "cosine":
        return 1 - functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T
    assert kind == "euclidean", f"a distance is euclidean or cosine, not {kind}"
    squares = torch.addmm(a.square().sum(dim=1, keepdim=True) + b.square().sum(dim=1), a, b.T, alpha=-2)
    return squares.clamp(min=1e-12).sqrt()
