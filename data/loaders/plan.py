"""Which samples make which batch: arithmetic only, so that any position of any epoch is found without reading data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy

Rows = tuple[numpy.ndarray, numpy.ndarray]  # sample indices, and their positions in the epoch's global order


class Plan(Protocol):
    """The batches of one rank, in an epoch of `length` samples; `parts` of them make one window (one step)."""

    @property
    def length(self) -> int: ...
    @property
    def parts(self) -> int: ...
    def __len__(self) -> int: ...
    @property
    def num_samples(self) -> int: ...
    def batches(self, epoch: int, first: int) -> list[Rows]: ...


def in_blocks(batches: list[Rows], samples: int) -> Iterator[tuple[numpy.ndarray, numpy.ndarray, list[int]]]:
    """Runs of batches, each of about so many samples, at least one batch: all indices, all positions, the size of each."""
    size = max(samples // max(len(batches[0][0]), 1), 1) if batches else 1
    for first in range(0, len(batches), size):
        block = batches[first : first + size]
        indices, positions = (numpy.concatenate(arrays) for arrays in zip(*block, strict=True))
        yield indices, positions, [len(rows) for rows, _ in block]


@dataclass(frozen=True)
class TrainingPlan:
    """Every step's samples are split over micro-batches and ranks.

    An epoch's order is cut into windows of `window` samples; each is split, in order, into `parts` micro-batches for
    each of `world_size` ranks. A short last window is split as evenly, so a micro-batch may then be empty, those of rank 0
    last; with `drop_last` that window is left out.

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
        return -(-self.num_samples // self.window) * self.parts

    @property
    def num_samples(self) -> int:
        """Samples of an epoch, over all ranks."""
        return self.length // self.window * self.window if self.drop_last else self.length

    def batches(self, epoch: int, first: int) -> list[Rows]:
        """The epoch's micro-batches of this rank from number `first` on."""
        order = self.order(epoch)
        return [self._batch(order, number) for number in range(first, len(self))]

    def sizes(self, whole_epoch: bool = True) -> set[int]:
        """How many samples a micro-batch of any rank may have; without `whole_epoch`, in the first window only."""
        windows = {min(self.window, self.length)}
        if whole_epoch and not self.drop_last and self.length % self.window:
            windows.add(self.length % self.window)
        pieces = range(self.world_size * self.parts)
        return {high - low for size in windows for low, high in (self._piece(size, number) for number in pieces)}

    def _batch(self, order: numpy.ndarray, number: int) -> Rows:
        window, part = divmod(number, self.parts)
        start = window * self.window
        size = min(self.window, self.length - start)
        low, high = self._piece(size, self.rank * self.parts + part)
        positions = numpy.arange(start + low, start + high)
        return order[positions], positions

    def _piece(self, size: int, number: int) -> tuple[int, int]:
        """Where micro-batch `number` of a window of `size` samples begins and ends: the first ones get one more."""
        pieces = self.world_size * self.parts
        return -(-size * number // pieces), -(-size * (number + 1) // pieces)


@dataclass(frozen=True)
class EvaluationPlan:
    """Whole batches of `size` samples in the order of the data set, dealt out to ranks in turn.

    The batches are the same for any number of ranks, and so are, to the last bit, the outputs for each sample.
    """

    length: int
    size: int
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        """Batches of this rank."""
        return len(range(self.rank, -(-self.length // self.size), self.world_size))

    @property
    def parts(self) -> int:
        """Batches that make one window: here they are the same."""
        return 1

    @property
    def num_samples(self) -> int:
        """All, over all ranks."""
        return self.length

    def batches(self, epoch: int, first: int) -> list[Rows]:
        """This rank's batches from its number `first` on; the same in every epoch."""
        starts = range(self.rank * self.size, self.length, self.world_size * self.size)[first:]
        rows = (numpy.arange(start, min(start + self.size, self.length)) for start in starts)
        return [(indices, indices) for indices in rows]
