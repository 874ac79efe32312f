"""Signals that ask a training to stop: SIGTERM, SIGINT, SIGUSR1. The first is noted, a second ends the process at once.

A thread watches for the second signal as well: Python runs handlers between two steps of its own, and would wait for ever
for a call that hangs.

There is one set of signal handlers in a process, so this module has state: `received()` says what came. What happens then
depends on where the command is. While it starts, `Interrupted` is raised out of whatever is going on, but for imports. From
`defer()` on nothing is raised: the loop looks at `received()` when a step is done, an evaluation when a batch is.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
FORWARDED = 3.0  # seconds in which a rank may get one signal twice: from outside, and from its launcher

_received = 0
_deferred = False


class Interrupted(BaseException):
    """A signal asked for an end. No `Exception`, so that nothing that goes on after errors goes on after this.

    Attributes:
        number: the signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {signal.Signals(number).name}")
        self.number = number


def received() -> int:
    """The number of the signal that came, or 0."""
    return _received


def check() -> None:
    """Raises Interrupted if a signal came: during an import, or where what a handler raises is swallowed by Python ("Exception
    ignored in ...", of a destructor). To be called after slow imports, and before anything is made that would stay."""
    if _received:
        raise Interrupted(_received)


def defer() -> None:
    """From here on a signal is only noted; raises Interrupted if one came before."""
    global _deferred
    check()
    _deferred = True


@contextmanager
def catching() -> Iterator[None]:
    """Within, this module handles the signals; afterwards whoever did before. Only the main thread of a process can."""
    global _received, _deferred
    _received, _deferred = 0, False
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    before = {number: signal.signal(number, _on_signal) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)  # which ends the thread
        _received, _deferred = 0, False


@contextmanager
def held() -> Iterator[None]:
    """Within, signals wait; and so they do in processes forked within, until these call `ignore`: a signal to the whole
    group must not find a helper that still has its parent's handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """For a helper process: its parent decides when it ends."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _received
    if not _received:
        _received = number
        if not _deferred and not _importing(frame):
            raise Interrupted(number)


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported just now. A compiled one that is left half-way cannot be imported again, calls back
    through C++ that aborts, or is gone on without; `check` raises once it is whole."""
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def _watch(reader: int) -> None:
    """Ends the process at the second signal. To a rank torchrun, and in a SLURM job srun, forwards a signal that it got from
    outside as well: two within FORWARDED seconds are one."""
    first, launched = 0.0, bool({"TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"} & os.environ.keys())
    while numbers := os.read(reader, 1):
        if numbers[0] not in SIGNALS:
            continue
        if not first:
            first = time.monotonic()
        elif not launched or time.monotonic() - first > FORWARDED:
            os._exit(128 + numbers[0])
    os.close(reader)
