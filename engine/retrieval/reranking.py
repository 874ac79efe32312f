"""k-reciprocal re-ranking (Zhong et al., Re-ranking person re-identification with k-reciprocal encoding, CVPR 2017).

Two images are near if they are each other's neighbours, and if their neighbours are the same. All that is kept of N images
are the k1 neighbours of each and sparse rows of weights; no N x N matrix is ever whole.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from engine.retrieval.distances import BLOCK_BYTES, Distances, Each, alone, blocks, distances, picked, row_distances
from engine.retrieval.images import within


class Sparse(NamedTuple):
    """A matrix that is zero but for some entries, which lie row by row.

    Attributes:
        starts: rows + 1 numbers, where each row begins.
        columns, values: one an entry.
    """

    starts: Tensor
    columns: Tensor
    values: Tensor

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(numbers into `rows`, places of entries): the entries of some rows, end to end."""
        sizes = self.starts[rows + 1] - self.starts[rows]
        owner = torch.arange(len(rows)).repeat_interleave(sizes)
        return owner, self.starts[rows][owner] + within(owner, sizes)


def reranked(
    features: Tensor,
    rows: Tensor,
    columns: Tensor,
    kind: str,
    k1: int = 20,
    k2: int = 6,
    share: float = 0.3,
    limit: int = BLOCK_BYTES,
    each: Each = alone,
) -> Distances:
    """Distances between queries and gallery: (1 - share) x the Jaccard distance of their neighbourhoods + share x the square
    of the plain distance over the query's greatest.

    Args:
        features: N x D; for cosine of length 1.
        rows, columns: numbers of the queries and of the gallery images. One that is both is one image.
        kind: of the plain distance.
        k1: neighbours that make a neighbourhood.
        k2: neighbours over which neighbourhoods are averaged; 1: none.
        share: lambda, 0 to 1.
        limit: bytes of a block.
        each: does the blocks of all distances between all images.
    """
    everyone = torch.cat([rows, columns]).unique()
    images = picked(features, everyone)
    query, gallery = (torch.searchsorted(everyone, numbers) for numbers in (rows, columns))
    near, greatest = _neighbours(images, kind, k1, limit, each)
    weights = _encoded(images, near, greatest, kind, k1, limit)
    if k2 != 1:
        weights = _averaged(weights, near[:, :k2], limit)
    by_column = _transposed(weights)
    plain = distances(images, query, gallery, kind)

    def block(part: slice) -> Tensor:
        scale = greatest[query[part], None]
        found = plain(part).div_(scale).square_().mul_(share)
        for line, image in zip(found, query[part], strict=True):
            line.add_(_jaccard(weights, by_column, image)[gallery], alpha=1 - share)
        return found

    return block


def _neighbours(images: Tensor, kind: str, k1: int, limit: int, each: Each) -> tuple[Tensor, Tensor]:
    """N x (k1 + 1) nearest images of each, itself among them, nearest first; and the greatest distance of each."""
    count = len(images)
    everyone = torch.arange(count)
    between = distances(images, everyone, everyone, kind)

    def nearest(rows: slice) -> tuple[Tensor, Tensor]:
        block = between(rows)
        return block.topk(min(k1 + 1, count), dim=1, largest=False).indices, block.max(dim=1).values

    near, greatest = (torch.cat(parts) for parts in zip(*each(blocks(count, count, limit), nearest), strict=True))
    return near, greatest.clamp(min=1e-12)


def _encoded(images: Tensor, near: Tensor, greatest: Tensor, kind: str, k1: int, limit: int) -> Sparse:
    """Of each image its reciprocal neighbours, with theirs where most of them are shared; weights that sum to 1."""
    count, width = near.shape
    half = near[:, : round(k1 / 2) + 1]
    mutual, mutual_half = _reciprocal(near, limit), _reciprocal(half, limit)
    keys = []
    for rows in blocks(count, width * width * half.shape[1], limit):
        own, is_own = near[rows], mutual[rows]
        theirs, is_theirs = half[own], mutual_half[own]  # b x width x half
        shared = (theirs[..., None] == own[:, None, None]) & is_own[:, None, None]
        both = (shared.any(dim=3) & is_theirs).sum(dim=2)
        taken = is_own & (3 * both > 2 * is_theirs.sum(dim=2))
        line = torch.arange(rows.start, rows.stop)
        first = (line[:, None] * count + own)[is_own]
        more = (line[:, None, None] * count + theirs)[is_theirs & taken[..., None]]
        keys.append(torch.cat([first, more]).unique())
    entries = torch.cat(keys)
    row, column = entries // count, entries % count
    values = torch.empty(len(entries))
    for part in blocks(len(entries), images.shape[1], limit):
        far = row_distances(images[row[part]], images[column[part]], kind) / greatest[row[part]]
        values[part] = (-far.square()).exp()
    sums = torch.zeros(count).index_add_(0, row, values)
    return Sparse(_starts(row, count), column, values / sums[row])


def _reciprocal(near: Tensor, limit: int) -> Tensor:
    """N x k truths: whether an image is also among the neighbours of its neighbour."""
    found = torch.empty(near.shape, dtype=torch.bool)
    for rows in blocks(len(near), 2 * near.shape[1] ** 2, limit):
        line = torch.arange(rows.start, rows.stop)
        found[rows] = (near[near[rows]] == line[:, None, None]).any(dim=2)
    return found


def _averaged(weights: Sparse, near: Tensor, limit: int) -> Sparse:
    """Of each image the mean row of its nearest neighbours."""
    count, width = near.shape
    longest = int(weights.starts.diff().max())
    row, column, values = [], [], []
    for rows in blocks(count, 8 * width * longest, limit):
        owner, place = weights.of(near[rows].flatten())
        keys = owner // width * count + weights.columns[place]
        found, which = keys.unique(return_inverse=True)
        row.append(found // count + rows.start)
        column.append(found % count)
        values.append(torch.zeros(len(found)).index_add_(0, which, weights.values[place]) / width)
    return Sparse(_starts(torch.cat(row), count), torch.cat(column), torch.cat(values))


def _transposed(weights: Sparse) -> Sparse:
    """Its rows are the columns of `weights`."""
    count = len(weights.starts) - 1
    order = weights.columns.argsort(stable=True)
    row = torch.arange(count).repeat_interleave(weights.starts.diff())
    return Sparse(_starts(weights.columns, count), row[order], weights.values[order])


def _starts(rows: Tensor, count: int) -> Tensor:
    return torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(rows, minlength=count).cumsum(dim=0)])


def _jaccard(weights: Sparse, by_column: Sparse, image: Tensor) -> Tensor:
    """N distances of one image: 1 - sum of the smaller weights / sum of the greater ones."""
    own = slice(int(weights.starts[image]), int(weights.starts[image + 1]))
    owner, place = by_column.of(weights.columns[own])
    smaller = torch.minimum(weights.values[own][owner], by_column.values[place])
    overlap = torch.zeros(len(weights.starts) - 1).index_add_(0, by_column.columns[place], smaller)
    return 1 - overlap / (2 - overlap)
