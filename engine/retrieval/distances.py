"""Distances between queries and gallery images, a block of queries at a time, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_BYTES = 32 * 2**20  # of one block of distances; a handful of such blocks are alive at a time

# rows of the queries -> their distances to every gallery image, float32, the caller's to change
Distances = Callable[[slice], Tensor]


def blocks(rows: int, columns: int, limit: int = BLOCK_BYTES) -> Iterator[slice]:
    """Parts of the rows of a rows x columns float32 matrix, each of `limit` bytes at most, but of a row at least."""
    step = max(limit // (4 * max(columns, 1)), 1)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def distances(query: Tensor, gallery: Tensor, kind: str) -> Distances:
    """Of Q x D and G x D float32 features: Euclidean distances, or cosine ones (1 - cosine, 0 to 2).

    What is not a number is further away than everything else.
    """
    assert kind in ("euclidean", "cosine"), f"a distance is euclidean or cosine, not {kind}"
    if kind == "cosine":
        query, gallery = functional.normalize(query, dim=1), functional.normalize(gallery, dim=1)
    squares = gallery.square().sum(dim=1)

    def block(rows: slice) -> Tensor:
        part = query[rows]
        if kind == "cosine":
            found = (part @ gallery.T).neg_().add_(1)
        else:
            found = torch.addmm(squares, part, gallery.T, alpha=-2)
            found.add_(part.square().sum(dim=1, keepdim=True)).clamp_(min=0).sqrt_()
        greatest = torch.finfo(found.dtype).max
        return found.nan_to_num_(nan=greatest, posinf=greatest)

    return block


def row_distances(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """B x D and B x D -> B: of each row of one to the same row of the other."""
    if kind == "cosine":
        return 1 - functional.cosine_similarity(a, b, dim=1)
    return (a - b).square().sum(dim=1).sqrt()
