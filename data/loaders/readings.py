"""What each worker process is reading, in memory that outlives it: so a worker that was killed or hangs can be explained."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.sharedctypes import RawArray

from torch.utils.data import get_worker_info

from data.dataset import Dataset

_NOTHING = -1


class Readings:
    """For each of `workers` processes its id and the index of the sample in its hands; written there, read here."""

    def __init__(self, workers: int) -> None:
        self._pids = RawArray("q", workers)
        self._indices = RawArray("q", [_NOTHING] * workers)

    def note(self, index: int = _NOTHING) -> None:
        """In a worker: it reads this sample now; without one, it is done."""
        worker = get_worker_info()
        assert worker is not None, "only a worker notes what it reads"
        self._pids[worker.id], self._indices[worker.id] = os.getpid(), index

    def text(self, dataset: Dataset) -> str:
        """`sample 17 (a/b.jpg), sample 3 (...)`: what was being read, "" where nothing was."""
        held = [index for index in self._indices if index != _NOTHING]
        return ", ".join(f"sample {index} ({dataset.path(index)})" for index in held)

    def kill(self) -> None:
        """Ends the workers that still live: one that hangs may heed no milder signal, and would be waited for."""
        for child in multiprocessing.active_children():
            if child.pid in set(self._pids):
                child.kill()
