"""The whole set as one contiguous tensor; a batch is one gather, or slices of padded images, not a loop over samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from data.loaders.bad_samples import Complaint
from data.loaders.loader import Batch, Fetcher, Loader
from data.loaders.plan import EvaluationPlan, Plan, Rows
from data.transforms.crops_and_flips import CropsAndFlips, can_be_batched


class MemoryLoader(Loader):
    """For data sets that give `arrays()`. With other transforms than PadCrop and RandomHorizontalFlip samples are still made
    one by one, from memory."""

    kind = "memory"

    def __init__(self, plan: Plan, fetcher: Fetcher, why: str = "", *, max_bad: float = 0.01) -> None:
        super().__init__(plan, fetcher, why, max_bad=max_bad)
        arrays = fetcher.dataset.arrays()
        assert arrays is not None, "the memory loader needs a data set that gives arrays()"
        self._images, self._targets = arrays
        self._moves = None
        if self._images.ndim == 4 and can_be_batched(fetcher.transforms):
            self._moves = CropsAndFlips(fetcher.transforms)
            self._images = functional.pad(self._images, (self._moves.padding,) * 4)

    def _fetch_all(self, epoch: int, batches: list[Rows]) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        if self._moves is not None:
            yield from self._fetch_moved(self._moves, epoch, batches)
        elif self.fetcher.transforms:
            yield from super()._fetch_all(epoch, batches)
        else:
            rows = self._slice if isinstance(self.plan, EvaluationPlan) and self._images.dtype == torch.uint8 else self._select
            for indices, _ in batches:
                yield rows(torch.from_numpy(indices).long(), indices), []

    def _select(self, index: Tensor, indices: numpy.ndarray) -> Batch:
        return {"image": self._images.index_select(0, index), "target": self._targets.index_select(0, index), "index": index}

    def _slice(self, index: Tensor, indices: numpy.ndarray) -> Batch:
        """Evaluation goes in order: no copy is made where normalising makes one anyway."""
        first = int(indices[0])
        last = first + len(indices)
        return {"image": self._images[first:last], "target": self._targets[first:last], "index": index}

    def _fetch_moved(
        self, moves: CropsAndFlips, epoch: int, batches: list[Rows]
    ) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        padded, first = self._images.numpy(), 0
        positions = numpy.concatenate([rows[1] for rows in batches]) if batches else numpy.empty(0, numpy.int64)
        drawn = moves.draw(self.fetcher.seed, epoch, positions)
        for indices, _ in batches:
            last = first + len(indices)
            images = moves.copy(padded, indices, (drawn[0][first:last], drawn[1][first:last], drawn[2][first:last]))
            index, first = torch.from_numpy(indices).long(), last
            yield {"image": torch.from_numpy(images), "target": self._targets.index_select(0, index), "index": index}, []
