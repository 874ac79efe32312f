"""Worker processes by torch's DataLoader: for data sets that read files."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from multiprocessing import context, popen_fork
from typing import Any

import torch
from torch.utils.data import DataLoader

from data.loaders.bad_samples import Complaint
from data.loaders.deaths import DEATHS
from data.loaders.loader import Batch, Fetcher, Loader
from data.loaders.plan import Plan, Rows
from data.loaders.readings import Readings
from utils import interrupts, orphans
from utils.errors import RunFailed


class _Batches(torch.utils.data.Dataset):
    """A batch is one item, so that a worker does a batch's whole work."""

    def __init__(self, fetcher: Fetcher, epoch: int, batches: list[Rows], readings: Readings) -> None:
        self.fetcher, self.epoch, self.rows, self.readings = fetcher, epoch, batches, readings

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[Batch | None, list[Complaint], str]:
        try:
            return (*self.fetcher.fetch(self.epoch, self.rows[number], self.readings.note), "")
        except RunFailed as error:  # a worker's exception arrives as a wall of text: hand the message over instead
            return None, [], str(error)
        finally:
            self.readings.note()


class _Popen(popen_fork.Popen):
    def terminate(self) -> None:
        self.kill()


class _Worker(context.ForkProcess):
    """Signals that ask to stop are for the main process: a worker ignores them. So torch's and Python's way to be rid of one
    that hangs, SIGTERM, is SIGKILL here."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        return _Popen(process_obj)


class _Forking(context.ForkContext):
    Process = _Worker


def _start_worker(parent: int, number: int) -> None:
    """Whatever kills the main process ends its workers; and a worker needs one thread."""
    interrupts.ignore()
    orphans.end_with(parent)
    torch.set_num_threads(1)


class ProcessLoader(Loader):
    """Batches from `workers` processes, in order; with 0 workers they are made in this one.

    Args:
        timeout: seconds that a worker may take for a batch; 0: for ever.
    """

    kind = "processes"

    def __init__(
        self, plan: Plan, fetcher: Fetcher, why: str = "", *, workers: int = 0, timeout: float = 300, max_bad: float = 0.01
    ) -> None:
        super().__init__(plan, fetcher, why, max_bad=max_bad)
        self.workers, self.timeout = workers, timeout

    def _fetch_all(self, epoch: int, batches: list[Rows]) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        if self.workers == 0:
            yield from super()._fetch_all(epoch, batches)
            return
        readings = Readings(self.workers)
        with warnings.catch_warnings(), interrupts.held():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # more than there are cores: the card says so
            loader = DataLoader(
                _Batches(self.fetcher, epoch, batches, readings),
                batch_size=None,
                num_workers=self.workers,
                timeout=self.timeout,
                worker_init_fn=partial(_start_worker, os.getpid()),
                multiprocessing_context=_Forking() if sys.platform.startswith("linux") else None,
                generator=torch.Generator(),  # else it would draw from the global one
            )
            results = iter(loader)
        DEATHS.defer()
        for _ in batches:
            batch, complaints, failure = self._next(results, readings)
            if failure:
                raise RunFailed(failure)
            yield batch, complaints

    def _next(self, results: Iterator[Any], readings: Readings) -> Any:
        """The next batch of the workers, or why there is none.

        Raises:
            RunFailed: a worker died or takes too long; what it was reading is named.
        """
        try:
            with DEATHS.raised_here():
                return next(results)
        except RuntimeError as error:
            text = " ".join(str(error).split())
            if "DataLoader" not in text or "Original Traceback" in text:  # raised by the data set's own code
                raise
            reading = readings.text(self.fetcher.dataset) or "no sample"
            readings.kill()
            if "timed out" in text:
                raise RunFailed(
                    f"a data worker took more than {self.timeout:g} s for a batch; in hand: {reading}. Does the file system "
                    "hang, or a transform? Raise DATALOADER.TIMEOUT if it is only slow"
                ) from error
            raise RunFailed(
                f"a data worker died: {text[:200].rstrip('.')}. In hand: {reading}. Most often memory ran out (see dmesg) or "
                "/dev/shm is full (df -h /dev/shm): lower DATALOADER.NUM_WORKERS (0: no workers) or SOLVER.IMS_PER_BATCH"
            ) from error
