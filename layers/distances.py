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


def pairwise_distances(a: Tensor, b: Tensor, kind: str = "euclidean", squares: Tensor | None = None) -> Tensor:
    """A x D and B x D -> A x B: Euclidean distances, or cosine ones (1 - cosine, 0 to 2); in float32, also under autocast.

    The gradient of a Euclidean distance of 0 is 0.

    Args:
        squares: B, the `squared_lengths` of b, where they are known already; for Euclidean distances.
    """
    if kind == "cosine":
        return 1 - cosines(a, b)
    assert kind == "euclidean", f"a distance is euclidean or cosine, not {kind}"
    with torch.autocast(a.device.type, enabled=False):
        a, b = a.float(), b.float()
        squares = squared_lengths(b) if squares is None else squares
        found = torch.addmm(squares, a, b.T, alpha=-2).add_(squared_lengths(a)[:, None])
    return found.clamp_(min=1e-12).sqrt_()


def squared_lengths(a: Tensor) -> Tensor:
    """A x D -> A, without a copy of all the squares."""
    return torch.einsum("nd,nd->n", a, a)
