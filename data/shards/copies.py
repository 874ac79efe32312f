"""Local copies of remote shards: at most so many bytes, the ones used longest ago go first; safe with several processes.

A copy is written aside, checked and renamed, so that what bears its name is whole. The locks are those of the kernel, which
end with the process that holds them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from data.shards.places import Place, open_store
from utils import files

TRIES = 3
_LOCKS, _ROOM = ".locks", "room"


class CopyFailed(Exception):
    """A shard could not be copied whole; the message names it and says why."""


class Copies:
    """Copies of shards below `folder`.

    Args:
        limit: bytes that they may take together, those being written included.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit

    def find(self, place: Place) -> Path | None:
        """The copy of a shard, which counts as used now; None where there is none."""
        path = self._path(place)
        try:
            if place.size and path.stat().st_size != place.size:
                path.unlink()
                return None
            os.utime(path)
        except OSError:
            return None
        return path

    def fetch(self, place: Place, sha256: str = "", *, wait: bool = True) -> Path | None:
        """The copy of a shard, made if need be. None where another process is making it and `wait` is False.

        Raises:
            CopyFailed: what came was cut short or, where `sha256` is given, is not what was packed; or the disk is full.
        """
        path = self._path(place)
        aside = self.folder / f"{files.TEMPORARY_PREFIX}{path.name}.{place.size}"
        try:
            with self._locked(path.name, wait) as mine:
                if not mine:
                    return None
                found = self.find(place)
                if found is not None:
                    return found
                self._make_room(aside, place.size)
                try:
                    _download(place, aside, sha256)
                    os.replace(aside, path)
                finally:
                    aside.unlink(missing_ok=True)
        except OSError as error:
            raise CopyFailed(f"{place.url}: {error.strerror or error} (copying to {self.folder})") from error
        return path

    def _path(self, place: Place) -> Path:
        return self.folder / f"{hashlib.sha256(repr(tuple(place)).encode()).hexdigest()[:16]}-{place.name}"

    def _make_room(self, aside: Path, size: int) -> None:
        """Deletes the copies used longest ago, and what killed processes left, until `size` bytes fit. `aside` then counts."""
        with self._locked(_ROOM, True):
            copies, taken = [], size
            for path in self.folder.iterdir():
                if path.name.startswith(files.TEMPORARY_PREFIX):
                    taken += 0 if self._left_behind(path) else int(path.name.rpartition(".")[2])
                elif path.is_file():
                    about = path.stat()
                    copies.append((about.st_mtime_ns, about.st_size, path))
                    taken += about.st_size
            for _, bytes_of, path in sorted(copies):
                if taken > self.limit:
                    path.unlink(missing_ok=True)  # who reads it holds it open
                    taken -= bytes_of
            aside.touch()

    def _left_behind(self, aside: Path) -> bool:
        """Deletes what nobody is writing any more."""
        name = aside.name.removeprefix(files.TEMPORARY_PREFIX).rpartition(".")[0]
        with self._locked(name, False) as nobody:
            if nobody:
                aside.unlink(missing_ok=True)
        return nobody

    @contextlib.contextmanager
    def _locked(self, name: str, wait: bool) -> Iterator[bool]:
        """Whether the lock of that name is held within."""
        folder = self.folder / _LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / name, "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)


def _download(place: Place, aside: Path, sha256: str) -> None:
    said = ""
    for number in range(TRIES):
        time.sleep(number / 2)
        try:
            system, path = open_store(place.url)
            system.get_file(path, str(aside))
        except Exception as error:  # each store has kinds of its own
            if isinstance(error, OSError) and error.errno is not None and not aside.exists():
                raise
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
            continue
        got = aside.stat().st_size
        if place.size and got != place.size:
            said = f"cut short: {got} of {place.size} bytes came"
        elif sha256 and files.sha256_file(aside) != sha256:
            said = "its sha256 is not that of its index"
        else:
            return
    raise CopyFailed(f"{place.url}: {said} (tried {TRIES} times)")
