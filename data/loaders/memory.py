"""The whole set as one contiguous tensor; a batch is one gather of images or of windows of them, not a loop over samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy
import torch
from torch import Tensor

from data.buffers import Buffers
from data.loaders.bad_samples import Complaint
from data.loaders.loader import Batch, Fetcher, Loader
from data.loaders.plan import EvaluationPlan, Plan, Rows
from data.transforms.crops_and_flips import CropsAndFlips, Moves, can_be_batched
from data.transforms.windows import Windows

KEPT_WINDOWS = 2**29  # bytes: the most that is taken to have crops and flips ready; CIFAR-10 takes 307 MB
BLOCK = 64  # batches whose crops and flips are drawn at once


class MemoryLoader(Loader):
    """For data sets that give `arrays()`. With other transforms than PadCrop and RandomHorizontalFlip samples are still made
    one by one, from memory."""

    kind = "memory"

    def __init__(self, plan: Plan, fetcher: Fetcher, why: str = "", *, max_bad: float = 0.01) -> None:
        super().__init__(plan, fetcher, why, max_bad=max_bad)
        arrays = fetcher.dataset.arrays()
        assert arrays is not None, "the memory loader needs a data set that gives arrays()"
        self._images, self._targets = arrays
        self._moves, self._windows, self._buffers = None, None, Buffers(numpy.uint8)
        if self._images.ndim == 4 and self._images.dtype == torch.uint8 and can_be_batched(fetcher.transforms):
            self._moves = moves = CropsAndFlips(fetcher.transforms)
            if self._images.numel() * (2 if moves.flips else 1) <= KEPT_WINDOWS:
                self._windows = Windows(self._images, moves.padding, mirrored=moves.flips, buffers=self._buffers)

    def _fetch_all(self, epoch: int, batches: list[Rows]) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        if self._moves is not None:
            yield from self._fetch_moved(self._moves, epoch, batches)
        elif self.fetcher.transforms:
            yield from super()._fetch_all(epoch, batches)
        else:
            for indices, _ in batches:
                index = torch.from_numpy(indices).long()
                yield {"image": self._rows(index), "target": self._targets.index_select(0, index), "index": index}, []

    def _rows(self, index: Tensor) -> Tensor:
        """Images as they are; in evaluation, which goes in order, without a copy where normalising makes one anyway."""
        if isinstance(self.plan, EvaluationPlan) and self._images.dtype == torch.uint8:
            first = int(index[0])
            return self._images[first : first + len(index)]
        return self._images.index_select(0, index)

    def _fetch_moved(
        self, moves: CropsAndFlips, epoch: int, batches: list[Rows]
    ) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        for block in (batches[start : start + BLOCK] for start in range(0, len(batches), BLOCK)):
            indices, positions = (numpy.concatenate(arrays) for arrays in zip(*block, strict=True))
            drawn = moves.draw(self.fetcher.seed, epoch, positions)
            found = self._windows.find(indices, drawn) if self._windows else drawn
            sizes = [len(rows) for rows, _ in block]
            index = torch.from_numpy(indices).long()
            targets, last = self._targets.index_select(0, index).split(sizes), 0
            for mine, target in zip(index.split(sizes), targets, strict=True):
                first, last = last, last + len(mine)
                part = found[0][first:last], found[1][first:last], found[2][first:last]
                images = self._windows.cut(*part) if self._windows else self._cut_alone(moves, mine, part)
                yield {"image": images, "target": target, "index": mine}, []

    def _cut_alone(self, moves: CropsAndFlips, index: Tensor, drawn: Moves) -> Tensor:
        """Windows of these images of a set that is too large to be kept twice more."""
        windows = Windows(self._images.index_select(0, index), moves.padding, mirrored=moves.flips, buffers=self._buffers)
        return windows.cut(*windows.find(numpy.arange(len(index)), drawn))
