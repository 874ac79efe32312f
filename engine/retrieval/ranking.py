"""The places at which a query finds its matches, and the scores that are made of them.

A place is counted, 1 + the gallery images that count and are nearer, from sorted distances without their indices: the
processor sorts plain numbers with vector instructions, many times faster than it finds an order. Images at equal
distance come in the order of the gallery, as a stable argsort has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from engine.retrieval.distances import BLOCK_BYTES, Distances, Each, alone, blocks
from engine.retrieval.images import Images, Pairs, SameIdentity, within

KS = (1, 5, 10, 20)  # of the cumulative match characteristic


class Ranking(NamedTuple):
    """How each of Q queries came out; all 0 where it has no match.

    Attributes:
        first: the place of its nearest match, from 1 (int64).
        found: Q x K, for each k of `KS` whether that is among the nearest k, or in which share of draws (float64).
        precision: average precision: the mean over its matches of matches so far / place (float64).
        penalty: inverse negative penalty: matches / place of the last one (Ye et al., Deep learning for person
            re-identification: a survey and outlook, 2020; float64).
        nearest: the number of the gallery image that counts and is nearest, the first of equal ones; -1: there is none.
    """

    first: Tensor
    found: Tensor
    precision: Tensor
    penalty: Tensor
    nearest: Tensor


def rank(distances: Distances, query: Images, gallery: Images, limit: int = BLOCK_BYTES, each: Each = alone) -> Ranking:
    """Q queries against G gallery images.

    Args:
        limit: bytes of a block of distances.
        each: does the blocks.
    """
    same = SameIdentity(gallery)

    def ranked(rows: slice) -> Ranking:
        pairs = same.pairs(query.take(rows))
        block = leave_out(distances(rows), pairs)
        matches = Pairs(*(part[pairs.counts] for part in pairs))
        return _scored(*places(block, matches), len(block), _nearest(block))

    return joined(each(blocks(len(query.place), len(gallery.place), limit), ranked))


def joined(parts: Iterable[Ranking]) -> Ranking:
    """Several, one after another; of none, that of no query."""
    ones = torch.zeros(0, dtype=torch.float64)
    empty = Ranking(ones.long(), ones.expand(len(KS), 0).T, ones, ones, ones.long())
    return Ranking(*(torch.cat(columns) for columns in zip(empty, *parts, strict=True)))


def leave_out(block: Tensor, pairs: Pairs) -> Tensor:
    """The block of distances, those that do not count at infinity."""
    gone = ~pairs.counts
    block[pairs.rows[gone], pairs.columns[gone]] = torch.inf
    return block


def places(block: Tensor, matches: Pairs) -> tuple[Tensor, Tensor]:
    """(rows, places) of all matches, row by row and nearest first."""
    rows, columns = matches.rows, matches.columns
    sizes = torch.bincount(rows, minlength=len(block))
    number = within(rows, sizes)
    wanted = torch.full((len(block), int(sizes.max()) if len(sizes) else 0), torch.inf)
    values = block[rows, columns]
    wanted[rows, number] = values
    ordered = torch.from_numpy(numpy.sort(block.numpy(), axis=1))
    nearer, up_to = (torch.searchsorted(ordered, wanted, right=right)[rows, number] for right in (False, True))
    tied = (up_to - nearer > 1).nonzero()[:, 0]
    nearer[tied] += _equal_before(block, rows[tied], columns[tied], values[tied])
    order = (rows * (block.shape[1] + 1) + nearer).argsort()
    return rows, nearer[order] + 1


def _equal_before(block: Tensor, rows: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    """How many images of a row are at the same distance and come earlier."""
    numbers = torch.arange(block.shape[1])
    found = torch.zeros(len(rows), dtype=torch.int64)
    for part in blocks(len(rows), block.shape[1]):
        equal = block[rows[part]] == values[part, None]
        found[part] = (equal & (numbers < columns[part, None])).sum(dim=1)
    return found


def _nearest(block: Tensor) -> Tensor:
    best = torch.from_numpy(block.numpy().argmin(axis=1))
    return best.where(block.gather(1, best[:, None])[:, 0] < torch.inf, -1)


def _scored(rows: Tensor, place: Tensor, count: int, nearest: Tensor) -> Ranking:
    """From the matches of `count` queries, row by row and nearest first."""
    sizes = torch.bincount(rows, minlength=count)
    number, some = within(rows, sizes), sizes > 0
    ends = sizes.cumsum(dim=0)[some]
    first, last = torch.zeros(2, count, dtype=torch.int64)
    first[some], last[some] = place[ends - sizes[some]], place[ends - 1]
    precision = torch.zeros(count, dtype=torch.float64).index_add_(0, rows, (number + 1).double() / place)
    found = (some[:, None] & (first[:, None] <= torch.tensor(KS))).double()
    return Ranking(first, found, precision / sizes.clamp(min=1), sizes.double() / last.clamp(min=1), nearest)


def summary(ranking: Ranking) -> dict[str, float]:
    """rank1, rank5, rank10, rank20 (the share of queries that find a match so early), mAP and mINP, over the queries that
    have a match; all 0 where none has."""
    count = max(int((ranking.first > 0).sum()), 1)
    sums = [*ranking.found.sum(dim=0).tolist(), ranking.precision.sum().item(), ranking.penalty.sum().item()]
    return {name: value / count for name, value in zip((*(f"rank{k}" for k in KS), "mAP", "mINP"), sums, strict=True)}
