"""Distances between queries and gallery images, a block of queries at a time, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from layers.distances import DISTANCES, pairwise_distances, squared_lengths

BLOCK_BYTES = 32 * 2**20  # of one block of distances; a handful of such blocks are alive at a time

# rows of the queries -> their distances to every gallery image, float32, the caller's to change
Distances = Callable[[slice], Tensor]
# (parts, act) -> act(part) of each, in order; engine.distributed.share_out has every rank do some of them
Each = Callable[[Iterable[slice], Callable[[slice], Any]], list[Any]]


def alone(parts: Iterable[slice], act: Callable[[slice], Any]) -> list[Any]:
    """act(part) of each part, one after another."""
    return [act(part) for part in parts]


def blocks(rows: int, columns: int, limit: int = BLOCK_BYTES) -> Iterator[slice]:
    """Parts of the rows of a rows x columns float32 matrix, each of `limit` bytes at most, but of a row at least."""
    step = max(limit // (4 * max(columns, 1)), 1)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def make_unit(features: Tensor) -> Tensor:
    """N x D, each row at length 1, in place: what cosine distances are made of."""
    for part in blocks(*features.shape):
        features[part] /= torch.linalg.vector_norm(features[part], dim=1, keepdim=True).clamp_(min=1e-12)
    return features


def distances(features: Tensor, rows: Tensor, columns: Tensor, kind: str) -> Distances:
    """Euclidean distances, or cosine ones (1 - cosine, 0 to 2), of images of N x D float32 features.

    What is not a number is further away than everything else. Where the gallery lies in one piece it is not copied.

    Args:
        features: for cosine of length 1, see `make_unit`.
        rows, columns: numbers of the queries and of the gallery images.
    """
    assert kind in DISTANCES, f"a distance is one of {DISTANCES}, not {kind}"
    gallery = picked(features, columns)
    squares = squared_lengths(gallery) if kind == "euclidean" else None

    def block(part: slice) -> Tensor:
        query = features[rows[part]]
        far = (query @ gallery.T).neg_().add_(1) if kind == "cosine" else pairwise_distances(query, gallery, squares=squares)
        greatest = torch.finfo(far.dtype).max
        return far.nan_to_num_(nan=greatest, posinf=greatest)

    return block


def picked(features: Tensor, numbers: Tensor) -> Tensor:
    """features[numbers]; not copied where the numbers follow one another."""
    if len(numbers) and bool((numbers.diff() == 1).all()):
        return features[int(numbers[0]) : int(numbers[-1]) + 1]
    return features[numbers]


def row_distances(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """B x D and B x D -> B: of each row of one to the same row of the other; for cosine both of length 1."""
    if kind == "cosine":
        return 1 - torch.einsum("nd,nd->n", a, b)
    return (a - b).square().sum(dim=1).sqrt()
