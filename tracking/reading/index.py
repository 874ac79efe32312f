"""All runs of a folder, quickly: the files are the truth, `.index/index.sqlite` is a cache that may vanish at any time.

Only commands that read update it; a training process never does. Whatever is wrong with it (absent, corrupt, locked,
read-only, full disk), the answer comes from the files and is the same.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracking.reading.configs import ConfigReader, read_origins, real_changes
from tracking.reading.summary import ENDED, Row, date_in, summarize

LOG = logging.getLogger("fieldbook.tracking")
VERSION = 4  # of the layout and of what `summarize` gives; another one is rebuilt
PATIENCE = 2.0  # seconds of asking a slow file server about runs that have ended and are known already
MANY = 500  # from so many changes on a new file is written aside: readers of the old one do not wait
_WATCHED = ("status.json", "notes.md", "run.json", "config.yml")
_LAYOUT = """
CREATE TABLE run (id TEXT PRIMARY KEY, date TEXT, sig TEXT, ended INTEGER, name TEXT, status TEXT, rest TEXT, metrics TEXT);
CREATE TABLE config (id TEXT PRIMARY KEY, flat TEXT);
"""


class _LazyRow(dict[str, Any]):
    """A row out of the index, parsed when more than its name is asked for: most commands look at few of ten thousand,
    and a ranking at nothing but the metrics, which are the larger half."""

    def __init__(self, rest: str, metrics: str, **light: Any) -> None:
        super().__init__(light)
        self.rest, self.metrics = rest, metrics

    def __missing__(self, key: str) -> Any:
        if key == "metrics":
            self[key] = json.loads(self.metrics)
        elif self.rest:
            self._parse()
        else:
            raise KeyError(key)
        return self[key]

    def _parse(self) -> None:
        text, self.rest = self.rest, ""
        if text:
            self.update(json.loads(text))

    # Overridden, so that whoever takes it for a plain dictionary sees all of it.
    def get(self, key: str, default: Any = None) -> Any:
        """As of a plain dictionary."""
        self.keys()
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> Any:
        """All keys."""
        self._parse()
        self["metrics"]
        return super().keys()


@dataclass
class _Known:
    """What the index says of a run."""

    sig: str
    ended: bool
    date: str
    row: Row


@dataclass
class Runs:
    """The runs of `folder`, oldest first, and their configs on demand."""

    folder: Path
    rows: list[Row]
    signs: dict[str, str] = field(default_factory=dict)  # run's id -> times and sizes of its files, as they are now
    _configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    _reader: ConfigReader = field(default_factory=ConfigReader)

    def __post_init__(self) -> None:
        self.by_id = {row["id"]: row for row in self.rows}

    def reread(self, run_id: str) -> Row:
        """A run's row straight from its files, also for the other questions to these runs."""
        row = summarize(self.folder / run_id)
        self.rows[self.rows.index(self.by_id[run_id])] = row
        self.by_id[run_id] = row
        return row

    def parse(self, only_metrics: bool = False) -> None:
        """Prepares for questions to all runs: parsing at once is quicker than one by one."""
        lazy = [row for row in self.rows if isinstance(row, _LazyRow)]
        for row, content in zip(lazy, json.loads(f"[{','.join(row.metrics for row in lazy)}]"), strict=True):
            row["metrics"] = content
        if not only_metrics:
            lazy = [row for row in lazy if row.rest]
            for row, content in zip(lazy, json.loads(f"[{','.join(row.rest for row in lazy)}]"), strict=True):
                row.rest = ""
                row.update(content)

    def path(self, row: Row) -> Path:
        """The run's folder."""
        return self.folder / str(row["id"])

    def config(self, run_id: str) -> dict[str, Any]:
        """A run's config, dotted key -> plain value; {} where there is none."""
        if run_id not in self._configs:
            self._configs[run_id] = self._reader.read(self.folder / run_id)
        return self._configs[run_id]

    def load_configs(self, ids: Iterable[str]) -> None:
        """Fetches the configs of many runs at once, from the index where that has them."""
        wanted = [i for i in dict.fromkeys(ids) if i in self.by_id and i not in self._configs]
        if len(wanted) > 20:
            with contextlib.suppress(sqlite3.Error, OSError, ValueError), _reading(self.folder) as base:
                query = "SELECT id, sig, flat FROM config JOIN run USING (id)"
                if len(wanted) <= 500:
                    query += f" WHERE id IN ({','.join('?' * len(wanted))})"
                rows = base.execute(query, wanted if len(wanted) <= 500 else []).fetchall()
                good = [(run_id, flat) for run_id, sig, flat in rows if self.signs.get(run_id) == sig]
                flats = json.loads("[" + ",".join(flat for _, flat in good) + "]")
                for (run_id, _), flat in zip(good, flats, strict=True):
                    self._configs.setdefault(run_id, flat)
        for run_id in wanted:
            self.config(run_id)

    def ancestors(self, row: Row) -> Iterator[Row]:
        """The run's parent, that one's parent, ... as far as they are here; a chain that bites its tail ends there."""
        seen, parent = {row["id"]}, self.by_id.get(row["parent"])
        while parent is not None and parent["id"] not in seen:
            seen.add(parent["id"])
            yield parent
            parent = self.by_id.get(parent["parent"])

    def changes(self, row: Row) -> dict[str, list[Any]]:
        """{KEY: [parent's, this one's]}; {} without a parent that is still there."""
        if row["parent"] not in self.by_id:
            return {}
        return self.changes_between(row["parent"], row["id"])

    def changes_between(self, old: str, new: str) -> dict[str, list[Any]]:
        """{KEY: [that run's, this one's]} of two runs, named by their ids."""
        paths = (self.folder / new, self.folder / old)
        return real_changes(self.config(new), self.config(old), lambda: (read_origins(paths[0]), read_origins(paths[1])))


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """Within, Python does not look for garbage in cycles: in rows there is none, and it would look through all that were read
    again and again, so that ten thousand runs would take more than ten times as long as a thousand."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collecting()
def load(folder: Path, full: bool = False, trust: bool = False, write: bool = True) -> Runs:
    """All runs of `folder`. What the index knows and what did not change since is not read again.

    Args:
        full: trust nothing (`exp.py reindex`).
        trust: do not even ask whether runs that have ended changed: enough to find a run by its name.
        write: bring the index up to date; a training process, which writes into its own folder only, does not.
    """
    known = {} if full else _read_known(folder)
    found, unasked = _scan(folder, known, time.monotonic() + (-1.0 if trust else PATIENCE))
    if unasked and not trust:
        LOG.warning("%s is slow: %d ended runs were taken from the index unasked; exp.py reindex reads all", folder, unasked)
    rows: list[tuple[str, str, Row]] = []
    fresh: list[tuple[str, str, Row]] = []
    for run_id, sig in found.items():
        old = known.get(run_id)
        if old and old.sig == sig and old.ended:
            rows.append((old.date, run_id, old.row))
            continue
        row = summarize(folder / run_id)
        rows.append((date_in(run_id), run_id, row))
        if not old or old.sig != sig:
            fresh.append((run_id, sig, row))
    rows.sort(key=lambda entry: entry[:2])
    runs = Runs(folder, [row for _, _, row in rows], found)
    gone = known.keys() - found.keys()
    if write and (fresh or gone or full):
        _write(runs, found, fresh, gone, anew=full or not known or len(fresh) > MANY)
    return runs


def forget(folder: Path, run_id: str) -> None:
    """For who changed a run's files: the next reader asks them again, however slow the disk."""
    with contextlib.suppress(sqlite3.Error, OSError, UnicodeError):
        if _file(folder).is_file():
            base = sqlite3.connect(_file(folder), timeout=1.0)
            try:
                with base:
                    base.execute("UPDATE run SET sig='' , ended=0 WHERE id=?", (run_id,))
            finally:
                base.close()


def _scan(folder: Path, known: dict[str, _Known], deadline: float) -> tuple[dict[str, str], int]:
    """Run's id -> times and sizes of the files that change, and how many were not asked; what is no run is passed over.

    Args:
        deadline: from then on, runs that have ended and are known are not looked at.
    """
    found: dict[str, str] = {}
    unasked = 0
    if not folder.is_dir():
        return found, 0
    for entry in os.scandir(folder):
        name = entry.name
        if name.startswith("."):
            continue
        old = known.get(name)
        if old and old.ended and time.monotonic() > deadline:
            found[name] = old.sig
            unasked += 1
            continue
        sig = ""
        for file in _WATCHED:
            try:
                info = os.stat(f"{entry.path}/{file}")
                sig += f"{info.st_mtime_ns},{info.st_size};"
            except OSError:
                sig += "-;"
        status, _, facts, _ = sig[:-1].split(";")
        if status != "-" or facts != "-":  # notes alone make no run
            found[name] = sig
    return found, unasked


@contextlib.contextmanager
def _reading(folder: Path) -> Any:
    """The index, opened for reading only: works where the folder cannot be written."""
    base = sqlite3.connect(f"{_file(folder).absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
    try:
        yield base
    finally:
        base.close()


def _read_known(folder: Path) -> dict[str, _Known]:
    """What the index knows; {} when it cannot be used for whatever reason."""
    if not _file(folder).is_file():
        return {}
    try:
        with _reading(folder) as base:
            if base.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                return {}
            found = base.execute("SELECT id, sig, ended, date, name, status, rest, metrics FROM run").fetchall()
        known = {}
        for run_id, sig, ended, date, name, status, rest, metrics in found:
            row = _LazyRow(rest, metrics, id=run_id, name=name, status=status, problems=[])
            known[run_id] = _Known(sig, bool(ended), date, row)
        return known
    except (sqlite3.Error, OSError, ValueError, TypeError):
        return {}


def _write(runs: Runs, found: dict[str, str], fresh: list[tuple[str, str, Row]], gone: Iterable[str], anew: bool) -> None:
    """Brings the index up to date; that it cannot be written is no error: the next reader asks the files again."""
    file = _file(runs.folder)
    target = file.with_name(f"{file.name}.{os.getpid()}") if anew else file
    if anew:
        fresh = [(row["id"], found[row["id"]], row) for row in runs.rows]
    try:
        file.parent.mkdir(exist_ok=True)
        if anew:
            target.unlink(missing_ok=True)
        base = sqlite3.connect(target, timeout=0.5, isolation_level=None)
        try:
            base.execute(f"PRAGMA synchronous={'OFF' if anew else 'NORMAL'}")
            base.execute("BEGIN IMMEDIATE")
            if anew:
                for statement in _LAYOUT.strip().splitlines():
                    base.execute(statement)
                base.execute(f"PRAGMA user_version={VERSION}")
            _store(base, runs, fresh, gone)
            base.execute("COMMIT")
        finally:
            base.close()
        if anew:
            os.replace(target, file)
    except (sqlite3.Error, OSError):
        if anew:
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)


def _store(base: sqlite3.Connection, runs: Runs, fresh: list[tuple[str, str, Row]], gone: Iterable[str]) -> None:
    fresh = [(i, sig, row) for i, sig, row in fresh if _is_text(i, row["name"], row["status"])]
    base.executemany("DELETE FROM run WHERE id=?", [(i,) for i in gone])
    base.executemany("DELETE FROM config WHERE id=?", [(i,) for i in gone])
    base.executemany(
        "INSERT OR REPLACE INTO run VALUES (?,?,?,?,?,?,?,?)",
        [(i, date_in(i), sig, _is_settled(row), row["name"], row["status"], *_halves(row)) for i, sig, row in fresh],
    )
    base.executemany(
        "INSERT OR REPLACE INTO config VALUES (?,?)",
        [(i, json.dumps(runs.config(i), default=str)) for i, _, _ in fresh],
    )


def _is_text(*texts: str) -> bool:
    """Whether SQLite takes them; a run whose folder's name is no UTF-8 is read from its files each time."""
    try:
        return bool("".join(texts).encode())
    except UnicodeError:
        return False


def _halves(row: Row) -> tuple[str, str]:
    rest = {key: value for key, value in row.items() if key != "metrics"}
    return json.dumps(rest), json.dumps(row["metrics"])


def _is_settled(row: Row) -> bool:
    """What has problems, or may live, is read again each time."""
    return row["status"] in ENDED and not row["problems"]


def _file(folder: Path) -> Path:
    return folder / ".index" / "index.sqlite"
