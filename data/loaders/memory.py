"""The whole set as one contiguous tensor; a batch without transforms is one gather instead of a Python loop."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from data.loaders.bad_samples import Complaint
from data.loaders.loader import Batch, Fetcher, Loader
from data.loaders.plan import Plan, Rows


class MemoryLoader(Loader):
    """For data sets that give `arrays()`. With transforms, samples are still made one by one, from memory."""

    kind = "memory"

    def __init__(self, plan: Plan, fetcher: Fetcher, why: str = "", *, max_bad: float = 0.01) -> None:
        super().__init__(plan, fetcher, why, max_bad=max_bad)
        arrays = fetcher.dataset.arrays()
        assert arrays is not None, "the memory loader needs a data set that gives arrays()"
        self._images, self._targets = arrays

    def _fetch_all(self, epoch: int, batches: list[Rows]) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        if self.fetcher.transforms:
            yield from super()._fetch_all(epoch, batches)
            return
        for indices, _ in batches:
            index = torch.from_numpy(indices).long()
            images, targets = self._images.index_select(0, index), self._targets.index_select(0, index)
            yield {"image": images, "target": targets, "index": index}, []
