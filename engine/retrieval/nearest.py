"""The nearest gallery images themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.retrieval.distances import BLOCK_BYTES, Distances, blocks
from engine.retrieval.images import Images, SameIdentity
from engine.retrieval.ranking import leave_out


def ranked(
    distances: Distances, query: Images, gallery: Images, wanted: Sequence[int], count: int, limit: int = BLOCK_BYTES
) -> list[list[int]]:
    """For each of the `wanted` queries, increasing numbers, the `count` nearest gallery images that count, nearest first;
    fewer where there are fewer.

    Whole blocks are asked for as in `rank`: a row by itself may be multiplied in another order, and ties come out otherwise.
    """
    same = SameIdentity(gallery)
    found: list[list[int]] = []
    for rows in blocks(len(query.place), len(gallery.place), limit):
        here = [row - rows.start for row in wanted if rows.start <= row < rows.stop]
        block = leave_out(distances(rows), same.pairs(query.take(rows))) if here else torch.empty(0)
        for line in block[here]:
            order = line.argsort(stable=True)
            found.append(order[line[order] < torch.inf][:count].tolist())
    return found
