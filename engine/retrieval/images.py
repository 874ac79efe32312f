"""Who is on which image, and which gallery images count for a query."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Images(NamedTuple):
    """Facts of N images, each N whole numbers.

    Attributes:
        place: the number of the sample, by which a query knows itself in the gallery.
        target: the identity.
        camera: -1 where it is not known.
    """

    place: Tensor
    target: Tensor
    camera: Tensor

    def take(self, rows: Tensor | slice) -> Images:
        """Some of them."""
        return Images(self.place[rows], self.target[rows], self.camera[rows])


class Pairs(NamedTuple):
    """Of some queries all gallery images of the same identity, query by query, in the order of the gallery.

    Attributes:
        rows, columns: numbers of the query and of the gallery image.
        counts: whether the gallery image counts, and so is a match.
    """

    rows: Tensor
    columns: Tensor
    counts: Tensor


class SameIdentity:
    """Finds the pairs of queries with the gallery images of their own identity, without looking at all pairs.

    The rule of Market-1501 (Zheng et al., Scalable person re-identification: a benchmark, ICCV 2015): an image of the
    query's identity by the query's camera does not count, neither for nor against; nor does the query itself. Where a
    camera is not known only the query itself is left out.

    Args:
        gallery: without junk, which is left out of every ranking.
    """

    def __init__(self, gallery: Images) -> None:
        self.gallery = gallery
        self.order = gallery.target.argsort(stable=True)
        self.sorted = gallery.target[self.order]

    def pairs(self, query: Images) -> Pairs:
        """Of Q queries."""
        low, high = (torch.searchsorted(self.sorted, query.target, right=right) for right in (False, True))
        sizes = high - low
        rows = torch.arange(len(sizes)).repeat_interleave(sizes)
        columns = self.order[low[rows] + within(rows, sizes)]
        camera, place = query.camera[rows], query.place[rows]
        own = (self.gallery.camera[columns] == camera) & (camera >= 0)
        return Pairs(rows, columns, ~own & (self.gallery.place[columns] != place))


def within(rows: Tensor, sizes: Tensor) -> Tensor:
    """Of entries that lie row by row, `sizes` of each row: the number of each within its row, from 0."""
    return torch.arange(len(rows)) - (sizes.cumsum(dim=0) - sizes)[rows]
