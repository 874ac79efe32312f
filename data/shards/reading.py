"""The bytes of a sample: one read at its place in the shard, from disk or a store, checked against what was packed."""

from __future__ import annotations

import logging
import os
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from data.images import BadSample
from data.scratch import scratch
from data.shards.copies import Copies, CopyFailed
from data.shards.places import Place, open_store

LOG = logging.getLogger("fieldbook.data")
OPEN = 64  # files held open
BEHIND = 4  # shards that one process copies at a time
TRIES = 3  # of a request
BUSY, FAILED = 1.0, 60.0  # seconds until it is tried again to copy a shard that another process copies, or that failed


class Reader:
    """Reads pieces of shards; several threads may. A remote shard is copied behind the back of whoever reads, who meanwhile
    asks the store for single samples: nobody waits for a whole shard.

    Args:
        copies: of remote shards; None: each sample is asked for.
        sha256: of each shard, or "".
    """

    def __init__(self, places: Sequence[Place], copies: Copies | None, sha256: Sequence[str]) -> None:
        self.places, self.copies, self.sha256 = list(places), copies, list(sha256)
        self._begin()

    def _begin(self) -> None:
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._files: OrderedDict[int, IO[bytes]] = OrderedDict()
        self._copying: set[int] = set()
        self._later: dict[int, float] = {}  # shard -> when it may be tried again to copy it
        self._whole_only = False

    def __getstate__(self) -> tuple[list[Place], Copies | None, list[str]]:
        return self.places, self.copies, self.sha256

    def __setstate__(self, state: tuple[list[Place], Copies | None, list[str]]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def read(self, shard: int, offset: int, size: int, checksum: int, name: str) -> memoryview:
        """`size` bytes from `offset` on, in memory that the thread's next call may use again; `name` is for messages.

        Raises:
            BadSample: the shard is gone, ends before, cannot be asked for, or has other bytes there than were packed.
        """
        if self._pid != os.getpid():  # forked: locks, threads and connections were left behind
            self._begin()
        try:
            file = self._opened(shard)
            data = self._ask(shard, offset, size) if file is None else _pread(file, offset, size)
        except OSError as error:
            raise BadSample(f"{name}: the shard cannot be read ({error.strerror or error})") from error
        if len(data) < size:
            raise BadSample(f"{name}: the shard is cut short, byte {offset + len(data)} is missing")
        if checksum and zlib.crc32(data) != checksum:
            raise BadSample(f"{name}: damaged, its bytes are not those that were packed (CRC-32)")
        return data

    def _opened(self, shard: int) -> IO[bytes] | None:
        """The file of a shard; None of a remote one that is not copied yet."""
        with self._lock:
            file = self._files.get(shard)
            if file is not None:
                self._files.move_to_end(shard)
                return file
        path = self._copy_of(shard) if self.places[shard].remote else self.places[shard].url
        if path is None:
            return None
        file = open(path, "rb", buffering=0)  # noqa: SIM115  kept open, closed by its last user
        with self._lock:
            gone = [number for number, held in self._files.items() if os.fstat(held.fileno()).st_nlink == 0]
            for number in gone:  # copies that had to make room, which they do only when nobody holds them
                del self._files[number]
            self._files[shard] = file
            if len(self._files) > OPEN:
                self._files.popitem(last=False)
        return file

    def _copy_of(self, shard: int) -> Path | None:
        if self.copies is None:
            return None
        copy = self.copies.find(self.places[shard])
        if copy is None and self._whole_only:
            try:
                return self.copies.fetch(self.places[shard], self.sha256[shard])
            except CopyFailed as error:
                raise OSError(str(error)) from error
        if copy is None:
            self._copy_behind(shard)
        return copy

    def _copy_behind(self, shard: int) -> None:
        with self._lock:
            if shard in self._copying or len(self._copying) >= BEHIND or time.monotonic() < self._later.get(shard, 0):
                return
            self._copying.add(shard)
        threading.Thread(target=self._copy, args=(shard,), name=f"copy {shard}", daemon=True).start()

    def _copy(self, shard: int) -> None:
        assert self.copies is not None
        wait = 0.0
        try:
            if self.copies.fetch(self.places[shard], self.sha256[shard], wait=False) is None:
                wait = BUSY
        except CopyFailed as error:
            wait = FAILED
            LOG.warning("no copy of %s; its samples are asked for one by one", error)
        except Exception:
            wait = FAILED
            LOG.exception("no copy of %s; its samples are asked for one by one", self.places[shard].url)
        finally:
            with self._lock:
                self._copying.discard(shard)
                self._later[shard] = time.monotonic() + wait

    def _ask(self, shard: int, offset: int, size: int) -> memoryview:
        """The bytes from the store itself."""
        place = self.places[shard]
        for number in range(TRIES):
            time.sleep(number / 2)
            try:
                system, path = open_store(place.url)
                data = system.cat_file(path, start=offset, end=offset + size)
                break
            except Exception as error:  # each store has kinds of its own
                if isinstance(error, FileNotFoundError) or number == TRIES - 1:
                    raise OSError(f"{type(error).__name__}: {' '.join(str(error).split())[:160]}") from error
        if len(data) > size:  # some servers of files know no ranges and send them whole
            if not self._whole_only:
                self._whole_only = True
                much = "; every sample takes the whole shard, set DATASETS.CACHE_GB" if self.copies is None else ""
                LOG.warning("%s: this server sends whole files only%s", place.url, much)
            data = data[offset : offset + size]
        return memoryview(bytearray(data))


def _pread(file: IO[bytes], offset: int, size: int) -> memoryview:
    """Up to `size` bytes, fewer at the file's end."""
    memory, filled = scratch("file", size).data[:size], 0
    while filled < size and (got := os.preadv(file.fileno(), [memory[filled:]], offset + filled)):
        filled += got
    return memory[:filled]
