"""Threads in this process: for image files, whose decoders let go of Python's lock. Nothing is pickled or copied twice."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy

from data.buffers import Buffers
from data.loaders.bad_samples import Complaint
from data.loaders.crew import Crew
from data.loaders.loader import Batch, Fetcher, Loader
from data.loaders.plan import Plan, Rows


class ThreadLoader(Loader):
    """Batches from `threads` threads, in order; these end with the iteration, however it ends.

    Args:
        timeout: seconds that a batch may take; 0: for ever.
    """

    kind = "threads"

    def __init__(
        self, plan: Plan, fetcher: Fetcher, why: str = "", *, threads: int = 1, timeout: float = 300, max_bad: float = 0.01
    ) -> None:
        super().__init__(plan, fetcher, why, max_bad=max_bad)
        self.threads, self.timeout = threads, timeout
        self._buffers = Buffers(numpy.uint8)

    def _fetch_all(self, epoch: int, batches: list[Rows]) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        crew = Crew(self.fetcher, epoch, batches, self.threads, self._buffers)
        try:
            for number in range(len(batches)):
                yield crew.take(number, self.timeout)
        finally:
            crew.stop()


def default_threads() -> int:
    """The cores that this process may use; those of a machine are shared by its ranks."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")), 1)
