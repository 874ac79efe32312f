"""One process a run: a lock on a file in the run's own folder.

It is a record lock of POSIX: the kernel drops it when the process ends, however it ends; forked helpers do not inherit it;
and file servers pass it on to other hosts. A process that closes any descriptor of the file loses it, so nobody else here
opens it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from pathlib import Path

from tracking import environment
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.tracking")
NAME = ".lock"


class RunLock:
    """Held from the making of this object to `release`.

    Args:
        folder: the run's; it may be renamed meanwhile.
        doing: what another process that wants the run is told of this one.

    Raises:
        UserError: another process holds it; the message names it and its host.
    """

    def __init__(self, folder: Path, doing: str = "running") -> None:
        self._file = -1
        while self._file < 0:
            file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(file, folder / NAME):
                    os.ftruncate(file, 0)
                    holder = {"host": environment.host(), "pid": os.getpid(), "doing": doing}
                    os.pwrite(file, json.dumps(holder).encode(), 0)
                    self._file = file
                else:  # its holder removed it between our opening and locking it
                    os.close(file)
            except (BlockingIOError, PermissionError) as error:
                held = _holder(file)
                os.close(file)
                raise UserError(f"{folder.name} is still {held}; stop it first") from error
            except OSError as error:  # a file server without locks: the heartbeat has to do
                LOG.warning("%s cannot be locked (%s): do not resume it twice at once", folder.name, error.strerror)
                self._file = file

    def release(self, folder: Path) -> None:
        """Removes the file and lets go. `folder`: where the run is by now."""
        (folder / NAME).unlink(missing_ok=True)
        os.close(self._file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: int) -> str:
    try:
        said = json.loads(os.pread(file, 4096, 0))
        return f"{said.get('doing', 'running')}: process {said['pid']} on {said['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "running: another process"
