"""CMC of the first CUHK03 protocol: the gallery has one image of each identity, drawn anew many times.

The rule is that of Li et al. (DeepReID, CVPR 2014) as `eval_cuhk03` of Torchreid (torchreid/metrics/rank.py) has it: what
does not count for a query is left out, then one image of every identity that is left is drawn for that query, also for its
own, and the places of its match in the draws are averaged over. mAP is that of the whole gallery. It draws 10 times, from
the global generator; here it is `REPEATS`, from a generator for each query.
"""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from data.randomness import ORDER, generator
from engine.retrieval.distances import BLOCK_BYTES, Distances, Each, alone, blocks
from engine.retrieval.images import Images, SameIdentity
from engine.retrieval.ranking import KS, leave_out

REPEATS = 100  # draws, over which the CMC is averaged


def single_shot(
    distances: Distances,
    query: Images,
    gallery: Images,
    seed: int,
    repeats: int = REPEATS,
    limit: int = BLOCK_BYTES,
    each: Each = alone,
) -> Tensor:
    """Q x K float64: the share of draws in which a query's match is among the nearest k, for each k of `KS`; 0 where it
    has no match.

    Each draw takes for a query one image of every identity of those that count. What is drawn for a query depends on the
    seed and its place in the data set, never on the other queries.

    Args:
        limit, each: as of `rank`.
    """
    same = SameIdentity(gallery)
    _, sizes = same.sorted.unique_consecutive(return_counts=True)
    starts = sizes.cumsum(dim=0) - sizes

    def drawn_for(rows: slice) -> Tensor:
        part = query.take(rows)
        pairs = same.pairs(part)
        block = leave_out(distances(rows), pairs)
        found = torch.zeros(len(block), len(KS), dtype=torch.float64)
        for row in pairs.rows[pairs.counts].unique().tolist():
            own = pairs.columns[(pairs.rows == row) & pairs.counts]
            identity = int(torch.searchsorted(same.sorted[starts], part.target[row]))
            shares = sizes.clone()
            shares[identity] = len(own)
            drawn = draw(shares, seed, int(part.place[row]), repeats)
            match = own[drawn[:, identity]]
            columns = same.order[starts + drawn.where(torch.arange(len(sizes)) != identity, 0)]
            place = _places(block[row], columns, match, identity)
            found[row] = torch.stack([(place <= k).double().mean() for k in KS])
        return found

    none = torch.zeros(0, len(KS), dtype=torch.float64)
    return torch.cat([none, *each(blocks(len(query.place), len(gallery.place), limit), drawn_for)])


def draw(sizes: Tensor, seed: int, place: int, repeats: int) -> Tensor:
    """repeats x I whole numbers for the query at `place`: of I identities with `sizes` images each, which one is taken."""
    uniform = generator(seed, ORDER, 0, place).random((repeats, len(sizes)))
    return torch.from_numpy(numpy.minimum((uniform * sizes.numpy()).astype(numpy.int64), sizes.numpy() - 1))


def _places(distance: Tensor, columns: Tensor, match: Tensor, identity: int) -> Tensor:
    """The place of the drawn match among what was drawn of the other identities, for each draw."""
    theirs, own = distance[columns], distance[match][:, None]
    nearer = (theirs < own) | ((theirs == own) & (columns < match[:, None]))
    nearer[:, identity] = False
    return nearer.sum(dim=1) + 1
