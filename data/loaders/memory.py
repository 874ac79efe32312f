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
        self._facts = {name: torch.tensor(values) for name, values in fetcher.dataset.facts.items()}
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
            for indices, _ in batches:
                index = torch.from_numpy(indices).long()
                yield self._with_facts(self._rows(index), index), []

    def _with_facts(self, images: Tensor, index: Tensor) -> Batch:
        facts = {name: values.index_select(0, index) for name, values in self._facts.items()}
        return {"image": images, "target": self._targets.index_select(0, index), "index": index, **facts}

    def _rows(self, index: Tensor) -> Tensor:
        """Images as they are; in evaluation, which goes in order, without a copy where normalising makes one anyway."""
        if isinstance(self.plan, EvaluationPlan) and self._images.dtype == torch.uint8:
            first = int(index[0])
            return self._images[first : first + len(index)]
        return self._images.index_select(0, index)

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
            yield self._with_facts(torch.from_numpy(images), index), []
