"""Several processes at one sweep: which of them works at a point, and when another may take it over."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.search.outcome import is_living
from engine.search.plan import Sweep
from tracking.environment import boot_id, host
from tracking.record import process_exists
from utils.errors import UserError

STALE = 600.0  # seconds after which a point of another machine that has no living run is taken over
WORKER = "worker"  # the attribute of a point that names its process


@contextlib.contextmanager
def alone(sweep: Sweep) -> Iterator[None]:
    """Within, no other process of this sweep takes a point. One with a journal of its own is alone anyway.

    Raises:
        UserError: the folder's file server has no locks.
    """
    if not sweep.storage:
        yield
        return
    file = os.open(sweep.path / ".taking", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(f"{sweep.path} cannot be locked ({error.strerror}); leave out --storage there") from error
        yield
    finally:
        os.close(file)


def sign(trial: Any) -> None:
    """This process works at a point from now on."""
    trial.set_user_attr(WORKER, {"host": host(), "boot_id": boot_id(), "pid": os.getpid(), "since": time.time()})


def is_orphan(frozen: Any, folder: Path, runs: Sequence[str]) -> bool:
    """Whether nobody works at a point any more: its process on this machine is gone, or, of another machine, all is still
    for a while.

    Args:
        runs: the ids of its runs.
    """
    worker = frozen.user_attrs.get(WORKER, {})
    if worker.get("host") == host():
        return worker.get("boot_id") != boot_id() or not process_exists(worker.get("pid"))
    return time.time() - _last_sign(frozen, folder, runs) > STALE and not any(is_living(folder, run) for run in runs)


def _last_sign(frozen: Any, folder: Path, runs: Sequence[str]) -> float:
    """When somebody was last seen to work at a point: a run writes its status once in a while."""
    times = [float(frozen.user_attrs.get(WORKER, {}).get("since", 0.0))]
    times += [frozen.datetime_start.timestamp()] if frozen.datetime_start else []
    for run in runs:
        with contextlib.suppress(OSError):
            times.append((folder / run / "status.json").stat().st_mtime)
    return max(times)
