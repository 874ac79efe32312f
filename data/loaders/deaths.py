"""When the death of a data worker is reported.

torch raises it from a signal handler, wherever the program happens to be: in the middle of an optimizer's step or of a
checkpoint. Here it waits until a batch is asked for, which is when it matters.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class _Deaths:
    """Stands before torch's handler of SIGCHLD, which raises RuntimeError when one of its workers has died."""

    def __init__(self) -> None:
        self._report: Callable[..., Any] | None = None
        self._waiting = False

    def defer(self) -> None:
        """Puts itself before torch's handler; called when a loader has started its workers. In threads nothing is done."""
        current = signal.getsignal(signal.SIGCHLD)
        if callable(current) and current != self._on_child and threading.current_thread() is threading.main_thread():
            self._report = current
            signal.signal(signal.SIGCHLD, self._on_child)

    @contextmanager
    def raised_here(self) -> Iterator[None]:
        """Within, the death of a worker is raised at once; so is one that happened before."""
        self._waiting = True
        try:
            self._on_child(signal.SIGCHLD, None)
            yield
        finally:
            self._waiting = False

    def _on_child(self, number: int, frame: FrameType | None) -> None:
        if self._waiting and self._report is not None:
            self._report(number, frame)


DEATHS = _Deaths()
