"""The whole set as one contiguous tensor; a batch is one gather of images or of windows of them, not a loop over samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy
import torch
from torch import Tensor

from data.buffers import Buffers
from data.loaders.bad_samples import Complaint
from data.loaders.loader import Batch, Fetcher, Loader, facts_of
from data.loaders.plan import EvaluationPlan, Plan, Rows, in_blocks
from data.transforms.crops_and_flips import CropsAndFlips, can_be_batched
from data.transforms.windows import Windows, laid_out_size
from utils import files

KEPT_WINDOWS = 2**29  # bytes that a set's images and their mirror images may take a second time; CIFAR-10's take 389 MB
SMALL = 36 * 2**10  # bytes of an image and its padding up to which it pays to lay out a batch where the whole set is too large
BLOCK = 2**13  # samples whose crops and flips are drawn at once, where the whole set is laid out; else batch by batch


class MemoryLoader(Loader):
    """For data sets that give `arrays()`. With other transforms than PadCrop and RandomHorizontalFlip samples are still made
    one by one, from memory."""

    def __init__(self, plan: Plan, fetcher: Fetcher, why: str = "", *, max_bad: float = 0.01) -> None:
        super().__init__(plan, fetcher, why, max_bad=max_bad)
        arrays = fetcher.dataset.arrays()
        assert arrays is not None, "the memory loader needs a data set that gives arrays()"
        self._images = arrays[0]
        self._facts = facts_of(fetcher.dataset, arrays[1])
        self._moves: CropsAndFlips | None = None
        self._windows: Windows | None = None  # of the whole set, and mirrored behind it, from the first iteration on
        self._kept = 0  # bytes that it takes; 0: batches are laid out, one after another
        self._buffers = Buffers(numpy.uint8)
        if self._images.ndim == 4 and self._images.dtype == torch.uint8 and can_be_batched(fetcher.transforms):
            moves, images = CropsAndFlips(fetcher.transforms), self._images
            size = laid_out_size(images.shape, moves.padding) * (2 if moves.flips else 1)
            self._kept = size if size <= KEPT_WINDOWS else 0
            if self._kept or laid_out_size((1, *images.shape[1:]), moves.padding) <= SMALL:
                self._moves = moves

    def describe(self) -> str:
        """Also what is kept beside the data set."""
        laid_out = f"; laid out for crops, {files.size(self._kept)}" if self._moves is not None and self._kept else ""
        return f"{self.kind} ({self.why}{laid_out})"

    def _fetch_all(self, epoch: int, batches: list[Rows]) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        if self._moves is not None:
            yield from self._fetch_moved(self._moves, epoch, batches)
        elif self.fetcher.transforms:
            yield from super()._fetch_all(epoch, batches)
        else:
            # Evaluation goes in order: no copy of images is made where normalising makes one anyway.
            in_order = isinstance(self.plan, EvaluationPlan) and self._images.dtype == torch.uint8
            for indices, _ in batches:
                index = torch.from_numpy(indices).long()
                images = self._images[indices[0] : indices[-1] + 1] if in_order else self._images.index_select(0, index)
                yield {"image": images, **self._facts_of(index), "index": index}, []

    def _facts_of(self, index: Tensor) -> dict[str, Tensor]:
        return {name: values.index_select(0, index) for name, values in self._facts.items()}

    def _fetch_moved(
        self, moves: CropsAndFlips, epoch: int, batches: list[Rows]
    ) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        for indices, positions, sizes in in_blocks(batches, BLOCK if self._kept else 1):
            index, drawn = torch.from_numpy(indices).long(), moves.draw(self.fetcher.seed, epoch, positions)
            lay = self._lay_set if self._kept else self._lay_batch
            windows, places = lay(moves, index, drawn[2])
            starts = windows.find(places, drawn)
            last = 0
            for mine in index.split(sizes):
                first, last = last, last + len(mine)
                yield {"image": windows.cut(starts[first:last]), **self._facts_of(mine), "index": mine}, []

    def _lay_set(self, moves: CropsAndFlips, index: Tensor, mirrored: numpy.ndarray) -> tuple[Windows, numpy.ndarray]:
        """The windows of the whole set, laid out once, and the places of these samples."""
        count = len(self._images)
        if self._windows is None:
            shape = ((2 if moves.flips else 1) * count, *self._images.shape[1:])
            self._windows = Windows(shape, moves.padding, self._buffers)
            self._windows.lay(0, self._images)
            if moves.flips:
                self._windows.lay(count, self._images, mirrored=True)
        return self._windows, index.numpy() + mirrored * count

    def _lay_batch(self, moves: CropsAndFlips, index: Tensor, mirrored: numpy.ndarray) -> tuple[Windows, numpy.ndarray]:
        """Windows of these samples alone, in memory that the next batch uses again: cut out of them before that."""
        if self._windows is None or self._windows.count < len(index):
            self._windows = Windows((len(index), *self._images.shape[1:]), moves.padding, self._buffers)
        order, plain = numpy.argsort(mirrored, kind="stable"), len(index) - int(mirrored.sum())  # the mirrored ones last
        images = self._buffers.take((len(index), *self._images.shape[1:]))
        torch.index_select(self._images, 0, index[order], out=images)
        self._windows.lay(0, images[:plain])
        self._windows.lay(plain, images[plain:], mirrored=True)
        return self._windows, numpy.argsort(order)
