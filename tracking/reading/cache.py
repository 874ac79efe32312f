"""The index, `.index/index.sqlite`: what `summarize` and `ConfigReader` gave, so that unchanged runs are not read again.

It may vanish at any time. Whatever is wrong with it (absent, corrupt, locked, read-only, full disk) is no error here: readers
go on from the files. Of each run it has the times and sizes of the files (`sig`) that the rest was made of.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracking.reading.summary import ENDED, Row, date_in

VERSION = 5  # of the layout and of what `summarize` gives; another one is rebuilt
_LAYOUT = """
CREATE TABLE run (id TEXT PRIMARY KEY, date TEXT, sig TEXT, ended INTEGER, name TEXT, status TEXT, rest TEXT, metrics TEXT);
CREATE TABLE config (id TEXT PRIMARY KEY, flat TEXT);
"""
Fresh = tuple[str, str, Row, dict[str, Any]]  # id, sig, row, config


class LazyRow(dict[str, Any]):
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
class Known:
    """What the index says of a run."""

    sig: str
    ended: bool
    date: str
    row: Row


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


def read_known(folder: Path) -> dict[str, Known]:
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
            row = LazyRow(rest, metrics, id=run_id, name=name, status=status, problems=[])
            known[run_id] = Known(sig, bool(ended), date, row)
        return known
    except (sqlite3.Error, OSError, ValueError, TypeError):
        return {}


def read_configs(folder: Path, ids: Sequence[str], signs: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The configs of those of the runs of which the index knows the state that `signs` tells; {} when it cannot be used."""
    with contextlib.suppress(sqlite3.Error, OSError, ValueError), _reading(folder) as base:
        few = len(ids) <= 500
        query = "SELECT id, sig, flat FROM config JOIN run USING (id)"
        query += f" WHERE id IN ({','.join('?' * len(ids))})" if few else ""
        rows = base.execute(query, ids if few else []).fetchall()
        good = [(run_id, flat) for run_id, sig, flat in rows if signs.get(run_id) == sig]
        flats = json.loads("[" + ",".join(flat for _, flat in good) + "]")
        return dict(zip((run_id for run_id, _ in good), flats, strict=True))
    return {}


def write(folder: Path, fresh: Sequence[Fresh], gone: Iterable[str], anew: bool) -> None:
    """Brings the index up to date; that it cannot be written is no error: the next reader asks the files again.

    Args:
        fresh: runs that are new or have changed.
        gone: ids of those that are not there any more.
        anew: a new file, of `fresh` alone; it is written aside, so that readers of the old one do not wait.
    """
    file = _file(folder)
    target = file.with_name(f"{file.name}.{os.getpid()}") if anew else file
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
            _store(base, fresh, gone)
            base.execute("COMMIT")
        finally:
            base.close()
        if anew:
            os.replace(target, file)
    except (sqlite3.Error, OSError):
        if anew:
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)


def _store(base: sqlite3.Connection, fresh: Sequence[Fresh], gone: Iterable[str]) -> None:
    for table in ("run", "config"):
        base.executemany(f"DELETE FROM {table} WHERE id=?", [(run_id,) for run_id in gone])
    for run_id, sig, row, config in fresh:
        if not _is_text(run_id, row["name"], row["status"]):
            continue
        settled = row["status"] in ENDED and not row["problems"]  # what has problems, or may live, is read again each time
        rest = dict(row)
        metrics = rest.pop("metrics")
        facts = (run_id, date_in(run_id), sig, settled, row["name"], row["status"], json.dumps(rest), json.dumps(metrics))
        base.execute("INSERT OR REPLACE INTO run VALUES (?,?,?,?,?,?,?,?)", facts)
        base.execute("INSERT OR REPLACE INTO config VALUES (?,?)", (run_id, json.dumps(config, default=str)))


def _is_text(*texts: str) -> bool:
    """Whether SQLite takes them; a run whose folder's name is no UTF-8 is read from its files each time."""
    try:
        return bool("".join(texts).encode())
    except UnicodeError:
        return False


@contextlib.contextmanager
def _reading(folder: Path) -> Any:
    """The index, opened for reading only: works where the folder cannot be written."""
    base = sqlite3.connect(f"{_file(folder).absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)
    try:
        yield base
    finally:
        base.close()


def _file(folder: Path) -> Path:
    return folder / ".index" / "index.sqlite"
