"""The indices of all shards of a pattern as one table, in files that are mapped into memory: what a process holds of it does
not grow with the number of samples, and all processes of a machine share it."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy

from data.shards.index import Index
from utils import files

VERSION = 1
_FACTS, _NAMES = "table.json", "names"
_COLUMNS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "offsets": (numpy.int64, ()), "sizes": (numpy.uint32, ()), "checksums": (numpy.uint32, ()), "ends": (numpy.int64, ()),
}  # fmt: skip
_OF_SHARDS = {"sha256": "", "torn": "", "of": 0, "bytes": 0}


class Table:
    """Where the samples of a pattern lie, and what they are: columns of N rows.

    Attributes:
        kind: of the targets: "class", "labels" or "value".
        classes: names.
        starts: the first row of each shard, and N.
        shards: of each shard "sha256" and "bytes" as packed, "of" how many shards it was packed (else "" and 0), and "torn":
            what is wrong with it, or "".
        digest: 16 hex digits that change with names of shards, places, checksums, targets and classes.
        offsets, sizes, checksums: N each, see Index.
        targets: N class numbers or values, see Index; of "labels" N x (C // 8 + 1) uint8, a bit a class and a set one where
            there is a label.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        self.kind, self.classes, self.shards, self.digest = (facts[name] for name in ("kind", "classes", "shards", "digest"))
        self.starts = numpy.array(facts["starts"])
        names = (*_COLUMNS, "targets")
        arrays = {name: numpy.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names}
        self.offsets, self.sizes, self.checksums = arrays["offsets"], arrays["sizes"], arrays["checksums"]
        self.targets, self._ends = arrays["targets"], arrays["ends"]
        self._names = numpy.memmap(folder / _NAMES, dtype=numpy.uint8, mode="r")

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __reduce__(self) -> tuple[type[Table], tuple[Path]]:
        return Table, (self.folder,)  # a process that is sent a table maps the same files

    def shard(self, row: int) -> int:
        """The number of the shard that a row is of."""
        return int(numpy.searchsorted(self.starts, row, side="right")) - 1

    def name(self, row: int) -> str:
        """Where a sample comes from: the file that was packed, or its name in the shard."""
        first = int(self._ends[row - 1]) + 1 if row else 0
        return self._names[first : int(self._ends[row])].tobytes().decode("utf-8", "replace")


def open_table(folder: Path, key: Any, make: Callable[[Path], None]) -> Table:
    """The table of that key below `folder`; `make(place)` writes it where there is none. Several processes that ask for it
    make it once.

    Raises:
        OSError: the folder cannot be written.
    """
    home = folder / hashlib.sha256(repr((VERSION, key)).encode()).hexdigest()[:24]
    with contextlib.suppress(OSError, ValueError, KeyError):
        return Table(home)
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    with open(f"{home}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(OSError, ValueError, KeyError):
            return Table(home)
        aside = files.temporary_beside(home)
        for old in (home, aside):
            shutil.rmtree(old, ignore_errors=True)
        aside.mkdir()
        try:
            make(aside)
            os.rename(aside, home)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return Table(home)


def _sweep(folder: Path) -> None:
    """Deletes what killed processes left: tables under way whose lock nobody holds."""
    for aside in folder.glob(f"{files.TEMPORARY_PREFIX}*"):
        name = aside.name.removeprefix(files.TEMPORARY_PREFIX).rpartition(".")[0]
        with open(folder / f"{name}.lock", "wb") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(aside, ignore_errors=True)


def write_table(
    folder: Path, kind: str, classes: Sequence[str], sizes: Sequence[int], indices: Iterator[tuple[str, Index]]
) -> None:
    """Writes the columns: `indices` gives (name, index) of each shard in turn, its targets being numbers of `classes`, and
    `sizes` how many samples each has."""
    rows = int(sum(sizes))
    columns = {
        name: numpy.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype=dtype, shape=(rows, *shape))
        for name, (dtype, shape) in {**_COLUMNS, "targets": _targets(kind, len(classes))}.items()
    }
    content = hashlib.sha256(json.dumps([kind, list(classes)]).encode())
    shards: list[dict[str, Any]] = []
    row = end = 0
    with open(folder / _NAMES, "wb") as names:
        for name, index in indices:
            targets = _bits(index, len(classes)) if kind == "labels" else index.targets
            ends = numpy.flatnonzero(numpy.frombuffer(index.names + b"\n", dtype=numpy.uint8) == ord("\n"))
            parts = {"offsets": index.offsets, "sizes": index.sizes, "checksums": index.checksums, "targets": targets}
            content.update(name.encode())
            for column, values in parts.items():
                content.update(numpy.ascontiguousarray(values).data)
                columns[column][row : row + len(index)] = values
            columns["ends"][row : row + len(index)] = end + ends[: len(index)]
            names.write(index.names + b"\n")
            row, end = row + len(index), end + len(index.names) + 1
            shards.append({fact: index.facts.get(fact, empty) for fact, empty in _OF_SHARDS.items()})
    for array in columns.values():
        array.flush()
    starts, digest = numpy.cumsum([0, *sizes]).tolist(), content.hexdigest()[:16]
    facts = {"kind": kind, "classes": list(classes), "starts": starts, "shards": shards, "digest": digest}
    files.write_atomic(folder / _FACTS, json.dumps(facts, ensure_ascii=False))


def _targets(kind: str, classes: int) -> tuple[Any, tuple[int, ...]]:
    """Type and shape of a sample's target; of several classes a bit each, and one that says whether there is a label."""
    if kind == "labels":
        return numpy.uint8, (classes // 8 + 1,)
    return (numpy.float32 if kind == "value" else numpy.int32), ()


def _bits(index: Index, classes: int) -> numpy.ndarray:
    bits = numpy.zeros((len(index), classes + 1), dtype=bool)
    counts = index.targets.clip(0)
    bits[numpy.repeat(numpy.arange(len(index)), counts), index.labels] = True
    bits[:, classes] = index.targets >= 0
    return numpy.packbits(bits, axis=1)


def kept_for_now() -> Path:
    """A folder that ends with this process, for tables where the cache cannot be written."""
    folder, maker = Path(tempfile.mkdtemp(prefix="fieldbook-shards-")), os.getpid()

    def remove() -> None:
        if os.getpid() == maker:  # not a process that was forked
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
