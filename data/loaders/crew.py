"""Threads that read the samples of an epoch's batches, in order, a bounded way ahead of whoever uses them."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from data.buffers import Buffers
from data.loaders.bad_samples import Complaint
from data.loaders.loader import Batch, Fetcher
from data.loaders.plan import Rows
from data.one_core import one_core_each
from utils.errors import RunFailed

AHEAD = 2  # batches that may be read before they are asked for, and as many more as all threads have work
PATIENCE = 5.0  # seconds that a thread has to end; one that hangs in the file system is left to the end of the process


class Crew:
    """Reads `batches` of an epoch with `threads` threads; `take(n)` gives them one after another, `stop()` ends it.

    A thread takes the next sample that nobody has taken; the one that reads a batch's last sample puts the batch together.
    An error is kept where it belongs and raised when that batch is taken, so the same one is raised as without threads.
    The images of a batch lie in one of `buffers`.
    """

    def __init__(self, fetcher: Fetcher, epoch: int, batches: list[Rows], threads: int, buffers: Buffers) -> None:
        self.fetcher, self.epoch, self.batches, self.buffers = fetcher, epoch, batches, buffers
        self.ahead = AHEAD + (2 * threads // max(len(batches[0][0]), 1) if batches else 0)
        self._changed = threading.Condition()
        self._results: dict[int, list[Any]] = {}  # of the batches in hand: a sample, a complaint or an error a place
        self._missing: dict[int, int] = {}
        self._done: dict[int, Any] = {}
        self._reading: dict[int, int] = {}  # thread -> index of the sample in its hands
        self._places = ((number, place) for number, rows in enumerate(batches) for place in range(len(rows[0])))
        self._next = next(self._places, None)
        self._taken, self._stopped = 0, False
        self._start(threads)

    def take(self, number: int, timeout: float) -> tuple[Batch | None, list[Complaint]]:
        """Batch `number`; they are taken in order.

        Raises:
            RunFailed: a sample is bad and that is an error, or the batch takes more than `timeout` seconds (0: for ever).
        """
        if not len(self.batches[number][0]):
            return None, []
        end = time.monotonic() + (timeout or float("inf"))
        with self._changed:
            self._taken = number + 1
            self._changed.notify_all()
            while number not in self._done:
                if time.monotonic() > end:
                    raise RunFailed(self._late(timeout))
                self._changed.wait(1)
            done = self._done.pop(number)
        if isinstance(done, BaseException):
            raise done
        batch: tuple[Batch | None, list[Complaint]] = done
        return batch

    def stop(self) -> None:
        """Ends the threads as soon as each has finished its sample."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        end = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0))

    def _start(self, threads: int) -> None:
        self._threads: list[threading.Thread] = []  # those that run
        _LIVING.add(self)
        try:
            with one_core_each(threads, "set DATALOADER.NUM_WORKERS lower, or raise `ulimit -u`") as begin:
                for number in range(threads):
                    thread = threading.Thread(target=self._work, args=(begin,), name=f"data {number}", daemon=True)
                    thread.start()
                    self._threads.append(thread)
        except BaseException:
            self.stop()
            raise

    def _work(self, begin: Callable[[], None]) -> None:
        begin()
        while (place := self._claim()) is not None:
            self._put(*place, self._read(*place))

    def _claim(self) -> tuple[int, int] | None:
        """The next batch and place in it; None when there is no more."""
        with self._changed:
            while not self._stopped and self._next is not None and self._next[0] >= self._taken + self.ahead:
                self._changed.wait()
            if self._stopped or self._next is None:
                return None
            number, place = self._next
            self._next = next(self._places, None)
            if place == 0:
                self._missing[number] = len(self.batches[number][0])
                self._results[number] = [None] * self._missing[number]
            self._reading[threading.get_ident()] = int(self.batches[number][0][place])
            return number, place

    def _read(self, number: int, place: int) -> Any:
        indices, positions = self.batches[number]
        try:
            return self.fetcher.read(self.epoch, int(indices[place]), int(positions[place]))
        except BaseException as error:
            return error

    def _put(self, number: int, place: int, result: Any) -> None:
        with self._changed:
            self._reading.pop(threading.get_ident())
            self._results[number][place] = result
            self._missing[number] -= 1
            if self._missing[number]:
                return
            results = self._results.pop(number)
        batch = self._gather(results)
        with self._changed:
            self._done[number] = batch
            self._changed.notify_all()

    def _gather(self, results: list[Any]) -> Any:
        errors: Iterator[BaseException] = (result for result in results if isinstance(result, BaseException))
        try:
            return next(errors, None) or self.fetcher.gather(results, self.buffers)
        except Exception as error:
            return error

    def _late(self, timeout: float) -> str:
        dataset = self.fetcher.dataset
        reading = ", ".join(f"sample {index} ({dataset.path(index)})" for index in self._reading.values()) or "no sample"
        return (
            f"the data threads took more than {timeout:g} s for a batch; in hand: {reading}. Does the file system hang, or a "
            "transform? Raise DATALOADER.TIMEOUT if it is only slow"
        )


_LIVING: weakref.WeakSet[Crew] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """A thread that still computes while Python takes itself down could abort the process."""
    for crew in list(_LIVING):
        crew.stop()
