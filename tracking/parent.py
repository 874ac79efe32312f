"""Which run a new one is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tracking.reading.configs import same
from tracking.reading.index import load
from tracking.reading.lookup import find
from tracking.record import Record, read_record

_NO_BASELINE = {"debug", "sweep"}  # tags
_CANDIDATES = 20  # newest runs among which a parent is guessed


def choose_parent(folder: Path, name: str, config: dict[str, Any], explicit: str = "") -> tuple[Record | None, bool]:
    """The parent of a new run called `name`, and whether it is only a guess.

    The one named; else the newest finished run of the name that is no debug or sweep run; else, of the last 20 runs,
    the one with the most similar config.

    Args:
        config: the new run's, by dotted key.

    Raises:
        UserError: the run named does not exist.
    """
    if explicit:
        return read_record(find(folder, explicit)), False
    runs = load(folder, write=False)
    found = [row for row in reversed(runs.rows) if row["status"] == "finished" and not _NO_BASELINE & set(row["tags"])]
    for row in found:
        if row["name"] == name:
            return read_record(runs.path(row)), False
    if not found:
        return None, False

    def likeness(run_id: str) -> int:
        other = runs.config(run_id)
        return sum(same(value, other.get(key)) for key, value in config.items())

    best = max(found[:_CANDIDATES], key=lambda row: likeness(row["id"]))
    return read_record(runs.path(best)), True
