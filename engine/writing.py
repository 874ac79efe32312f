"""Writing beside training: the copy that training waits for, the thread that writes it, and what could not be written."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from engine.checkpoint import CheckpointWriter
from engine.host_copy import HostCopy, tensor_bytes
from utils.errors import RunFailed
from utils.files import free_bytes, size

LOG = logging.getLogger("fieldbook.checkpoint")


@dataclass(frozen=True)
class Save:
    """One file to be written."""

    name: str
    content: dict[str, Any]
    step: int
    metric: float | None


class Saver:
    """Copies state and writes the copy beside training. One save is in flight at most: the next waits for it.

    Of sharded training every rank has one, and all write at once, while training waits: nothing is copied.

    What the disk refuses is warned of. Of best.pt and last.pt the newest content that is not on disk yet is kept, to be
    tried again.

    Args:
        beside: False writes at once, while training waits.
    """

    def __init__(self, writer: CheckpointWriter, *, beside: bool = True) -> None:
        self.writer = writer
        self.sharded = writer.device is not None
        self._thread = BackgroundWriter(beside and not self.sharded)
        self._state_copy, self._best_copy = HostCopy(), HostCopy()
        self._unwritten: dict[str, Save] = {}
        self._failed: list[str] = []
        self._reason = ""

    @property
    def busy(self) -> bool:
        """Whether something is being written now."""
        return self._thread.busy

    def keep_best(self, save: Save) -> None:
        """Copies what best.pt shall hold, to be written with the next `start`. Call `settle` before."""
        self._unwritten[save.name] = replace(save, content=self._best_copy.take(save.content))

    def start(self, saves: Sequence[Save], *, keep: Collection[str] | None = None, then: Callable[[], None]) -> None:
        """Copies and begins to write best.pt, if it waits, and `saves`, which are of one content. Call `settle` before.

        Args:
            keep: names of the epoch_NNNN.pt that stay: older others are deleted when all is written; None deletes none.
            then: called when last.pt is on disk.
        """
        content = saves[0].content if self.sharded else self._state_copy.take(saves[0].content)
        saves = [replace(save, content=content) for save in saves]
        self._unwritten[saves[-1].name] = saves[-1]
        best = [self._unwritten["best.pt"]] if "best.pt" in self._unwritten else []
        self._thread.start(partial(self._write_all, [*best, *saves], keep, then))

    def settle(self) -> list[str]:
        """Waits until nothing is being written; the names of the files that the last save could not write."""
        self._thread.wait()
        failed, self._failed = self._failed, []
        return failed

    def drop(self) -> None:
        """What could not be written yet shall not be."""
        self.settle()
        self._unwritten.clear()

    def finish(self) -> None:
        """The end: tries once more to write what is not on disk.

        Raises:
            RunFailed: it cannot be written.
        """
        self.settle()
        for save in list(self._unwritten.values()):
            self._write(save)
        if self._unwritten:
            names = " and ".join(sorted(self._unwritten))
            raise RunFailed(
                f"{names} of the end could not be written ({self._reason}); what was written before is kept. "
                "Make room there and go on with --resume"
            )

    def _write_all(self, saves: Sequence[Save], keep: Collection[str] | None, then: Callable[[], None]) -> None:
        written = [self._write(save) for save in saves]
        if keep is not None and all(written):  # never delete a good file before a newer one lies beside it
            self.writer.remove_epochs(keep, before=saves[-1].step)
        if written[-1]:
            try:
                then()
            except OSError as error:
                LOG.warning("the status could not be written (%s)", error.strerror)

    def _write(self, save: Save) -> bool:
        try:
            self.writer.write(save.name, save.content, step=save.step, metric=save.metric)
        except OSError as error:
            self._reason = error.strerror or str(error)
            path = self.writer.folder / save.name
            needed, free = size(tensor_bytes(save.content)), size(free_bytes(path.parent))
            LOG.warning(
                "%s of step %d was not written: %s (needs %s, %s free); training goes on, what was written before is kept",
                path, save.step, self._reason, needed, free,
            )  # fmt: skip
            self._failed.append(save.name)
            return False
        self._unwritten.pop(save.name, None)
        return True


class BackgroundWriter:
    """Does one piece of work at a time in a thread of its own.

    The thread is made for the work and gone after it: between two writes a fork (of DataLoader workers) meets no thread
    of ours. It is no daemon: Python does not end before a checkpoint is whole.

    Args:
        beside: False does the work at once, in the caller's thread.
    """

    def __init__(self, beside: bool = True) -> None:
        self.beside = beside
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being written now."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Begins `work`, after what was begun before is done.

        Raises:
            BaseException: whatever the work before this one raised.
        """
        self.wait()
        if not self.beside:
            work()
            return
        self._thread = threading.Thread(target=self._do, args=(work,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Returns when nothing is being written any more.

        Raises:
            BaseException: whatever the work raised; once.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # handed over to whoever waits
            self._error = error
