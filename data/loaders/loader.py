"""The loader protocol, once: position, plan, bad samples. Its subclasses say how batches are fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from data.buffers import Buffers
from data.collate_batch import collate_batch
from data.dataset import Crop, Dataset, Sample
from data.images import BadSample
from data.loaders.bad_samples import BadSamples, Complaint
from data.loaders.plan import Plan, Rows
from data.randomness import SAMPLE, generator
from data.to_device import Side, copied_ahead
from utils.errors import RunFailed

Transform = Callable[[Sample, Any], Sample]
Batch = dict[str, Any]


class Fetcher:
    """Reads the samples of a batch: transforms are drawn from (seed, epoch, position), so anyone may fetch anything."""

    def __init__(self, dataset: Dataset, transforms: Sequence[Transform], seed: int, skip_bad: bool) -> None:
        self.dataset, self.transforms, self.seed, self.skip_bad = dataset, list(transforms), seed, skip_bad
        first = self.transforms[0] if self.transforms else None
        self._crop = first if isinstance(first, Crop) else None

    def fetch(self, epoch: int, rows: Rows, note: Callable[[int], None] | None = None) -> tuple[Batch | None, list[Complaint]]:
        """The batch (None where no sample is left) and what is wrong with each sample left out.

        `note(index)` is told of each sample before it is read.

        Raises:
            RunFailed: a sample is bad and that is an error.
        """
        results = []
        for index, position in zip(rows[0].tolist(), rows[1].tolist(), strict=True):
            if note is not None:
                note(index)
            results.append(self.read(epoch, index, position))
        return self.gather(results)

    def read(self, epoch: int, index: int, position: int) -> Sample | Complaint:
        """The sample, transformed, or what is wrong with it.

        Raises:
            RunFailed: it is bad and that is an error.
        """
        try:
            return self._sample(index, epoch, position)
        except BadSample as error:
            if not self.skip_bad:
                raise RunFailed(
                    f"{error} (sample {index} of {self.dataset.name}); mend or remove it, or set DATALOADER.BAD_SAMPLES skip "
                    "(and DATALOADER.MAX_BAD to the share that may be bad)"
                ) from error
            return index, f"{error} (sample {index})"

    def gather(
        self, results: Sequence[Sample | Complaint], buffers: Buffers | None = None
    ) -> tuple[Batch | None, list[Complaint]]:
        """A batch of what `read` gave."""
        samples = [result for result in results if isinstance(result, dict)]
        complaints = [result for result in results if isinstance(result, tuple)]
        return (collate_batch(samples, buffers) if samples else None), complaints

    def _sample(self, index: int, epoch: int, position: int) -> Sample:
        if not self.transforms:
            return self.dataset[index]
        rng = generator(self.seed, SAMPLE, epoch, position)
        if self._crop is None:
            sample = self.transforms[0](self.dataset[index], rng)
        else:
            sample = self.dataset.cropped(index, self._crop, rng)
        for transform in self.transforms[1:]:
            sample = transform(sample, rng)
        return sample


class Loader:
    """`len`, iteration from the set position to the end of that epoch, and `set_position`.

    Args:
        plan: which samples make which batch.
        fetcher: reads them.
        max_bad: 0 to 1; share of the samples that may be left out because they are bad.

    Attributes:
        bad: the samples left out so far.
        num_samples: of an epoch, over all ranks.
        says_position: whether each batch has a "position", (epoch, window of the epoch): equal for all micro-batches and
            ranks of a step, for what is drawn once a step.
        side: copies batches to a device, one ahead of the one in use (a bad sample is known of so much earlier); None: they
            stay on the host.
    """

    kind = "memory"

    def __init__(self, plan: Plan, fetcher: Fetcher, why: str = "", *, max_bad: float = 0.01) -> None:
        self.plan, self.fetcher, self.why = plan, fetcher, why
        self.dataset = fetcher.dataset
        self.bad = BadSamples(fetcher.dataset, max_bad)
        self.says_position = False
        self.side: Side | None = None
        self._epoch = self._batch = 0

    @property
    def num_samples(self) -> int:
        """Samples of an epoch over all ranks."""
        return self.plan.num_samples

    def __len__(self) -> int:
        return len(self.plan)

    def set_position(self, epoch: int, batch: int) -> None:
        """The next iteration begins at this batch of this epoch; nothing is read for what lies before."""
        self._epoch, self._batch = epoch, batch

    def __iter__(self) -> Iterator[Batch]:
        batches = self._batches()
        return batches if self.side is None else copied_ahead(batches, self.side)

    def _batches(self) -> Iterator[Batch]:
        epoch, first = self._epoch, self._batch
        self._batch = 0
        for number, (batch, complaints) in enumerate(self._fetch_all(epoch, self.plan.batches(epoch, first)), first):
            if complaints:
                self.bad.add(complaints)
            # A batch without samples is still one, else the positions after it would shift.
            batch = batch if batch is not None else {"index": torch.empty(0, dtype=torch.int64)}
            yield {**batch, "position": (epoch, number // self.plan.parts)} if self.says_position else batch

    def describe(self) -> str:
        """Which loader this is and why, for the run card."""
        return f"{self.kind} ({self.why})"

    def _fetch_all(self, epoch: int, batches: list[Rows]) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        for rows in batches:
            yield self.fetcher.fetch(epoch, rows)


def facts_of(dataset: Dataset, targets: Tensor) -> dict[str, Tensor]:
    """What each sample of a data set that lies in memory has beside its image, all samples at once, "target" among it."""
    return {"target": targets, **{name: torch.tensor(values) for name, values in dataset.facts.items()}}
