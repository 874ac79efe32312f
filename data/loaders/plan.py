"""Which samples make which batch: arithmetic only, so that any position of any epoch is found without reading data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy

Rows = tuple[numpy.ndarray, numpy.ndarray]  # sample indices, and their positions in the epoch's global order


@dataclass(frozen=True)
class Plan:
    """The batches of one rank.

    An epoch's order is cut into windows of `window` samples; each is split, in order, into `parts` micro-batches for
    each of `world_size` ranks. A short last window is split as evenly, so a micro-batch may then be empty; with
    `drop_last` that window is left out.

    Attributes:
        order: epoch -> sample indices of the whole epoch.
        length: how many those are.
    """

    order: Callable[[int], numpy.ndarray]
    length: int
    window: int
    parts: int = 1
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False

    def __len__(self) -> int:
        """Micro-batches of an epoch on this rank."""
        windows = self.length // self.window if self.drop_last else -(-self.length // self.window)
        return windows * self.parts

    def batches(self, epoch: int, first: int) -> list[Rows]:
        """The epoch's micro-batches of this rank from number `first` on."""
        order = self.order(epoch)
        return [self._batch(order, number) for number in range(first, len(self))]

    def sizes(self, whole_epoch: bool = True) -> set[int]:
        """How many samples a micro-batch of any rank may have; without `whole_epoch`, in the first window only."""
        pieces = self.world_size * self.parts
        windows = {min(self.window, self.length)}
        if whole_epoch and not self.drop_last and self.length % self.window:
            windows.add(self.length % self.window)
        return {size * (p + 1) // pieces - size * p // pieces for size in windows for p in range(pieces)}

    def _batch(self, order: numpy.ndarray, number: int) -> Rows:
        window, part = divmod(number, self.parts)
        start = window * self.window
        size = min(self.window, self.length - start)
        pieces = self.world_size * self.parts
        piece = self.rank * self.parts + part
        low, high = start + size * piece // pieces, start + size * (piece + 1) // pieces
        positions = numpy.arange(low, high)
        return order[low:high], positions
