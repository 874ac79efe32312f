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
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracking.reading import cache
from tracking.reading.configs import ConfigReader, changes, read_origins
from tracking.reading.summary import Row, date_in, summarize

LOG = logging.getLogger("fieldbook.tracking")
PATIENCE = 2.0  # seconds of asking a slow file server about runs that have ended and are known already
MANY = 500  # from so many changes on a new file is written aside: readers of the old one do not wait
_WATCHED = ("status.json", "notes.md", "run.json", "config.yml")


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
        lazy = [row for row in self.rows if isinstance(row, cache.LazyRow)]
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
            for run_id, flat in cache.read_configs(self.folder, wanted, self.signs).items():
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
        return changes(self.config(new), self.config(old), lambda: (read_origins(paths[0]), read_origins(paths[1])))


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
    known = {} if full else cache.read_known(folder)
    found, unasked = _scan(folder, known, time.monotonic() + (-1.0 if trust else PATIENCE))
    if unasked and not trust:
        LOG.warning("%s is slow: %d ended runs were taken from the index unasked; exp.py reindex reads all", folder, unasked)
    rows: list[tuple[str, str, Row]] = []
    fresh: list[Row] = []
    for run_id, sig in found.items():
        old = known.get(run_id)
        if old and old.sig == sig and old.ended:
            rows.append((old.date, run_id, old.row))
            continue
        row = summarize(folder / run_id)
        rows.append((date_in(run_id), run_id, row))
        if not old or old.sig != sig:
            fresh.append(row)
    rows.sort(key=lambda entry: entry[:2])
    runs = Runs(folder, [row for _, _, row in rows], found)
    gone = known.keys() - found.keys()
    if write and (fresh or gone or full):
        anew = full or not known or len(fresh) > MANY
        changed = runs.rows if anew else fresh
        cache.write(folder, [(row["id"], found[row["id"]], row, runs.config(row["id"])) for row in changed], gone, anew)
    return runs


def _scan(folder: Path, known: dict[str, cache.Known], deadline: float) -> tuple[dict[str, str], int]:
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
