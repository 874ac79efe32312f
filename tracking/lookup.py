"""Which run is meant, answered from the index: as `resolve.find_run`, but quick among ten thousand runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tracking.index import Runs, load
from tracking.resolve import find_run
from tracking.summary import Row, value_of
from utils.errors import UserError

_LOWER = re.compile(r"loss|error|mae|mse|perplexity|(^|/)time", re.IGNORECASE)


def find(folder: Path, text: str, strict: bool = False) -> Path:
    """The folder of the run that `text` means: see `resolve.find_run`, which also words what is wrong with it.

    Args:
        strict: a name that several runs bear is ambiguous (for what removes), not the newest of them.

    Raises:
        UserError: there is no such run, or several; the message lists the candidates.
    """
    if not strict and any(text and (path / "run.json").is_file() for path in (Path(text), folder / text)):
        return find_run(folder, text)
    return folder / str(find_row(load(folder, trust="best:" not in text), text, strict)["id"])


def find_row(runs: Runs, text: str, strict: bool = False) -> Row:
    """As `find`, among runs that were loaded already.

    Raises:
        UserError: as `find`; also for a run that lies in another folder than the others.
    """
    if text.endswith("^"):
        return _parent(runs, find_row(runs, text[:-1], strict))
    if text in runs.by_id:
        return runs.by_id[text]
    back = re.fullmatch(r"last(?:~(\d+))?", text)
    if back and int(back[1] or 0) < len(runs.rows):
        return runs.rows[-1 - int(back[1] or 0)]
    if text.startswith("best:"):
        ranked = ranking(runs.rows, text.removeprefix("best:"))
        if ranked:
            return ranked[0]
    named = [row for row in runs.rows if row["name"] == text]
    if len(named) > 1 and strict:
        names = ", ".join(row["id"] for row in named[-5:])
        raise UserError(f"{text!r} is the name of {len(named)} runs: {names}; give more of the folder's name")
    if named:
        return named[-1]
    parts = [row for row in runs.rows if text and text in row["id"]]
    if len(parts) == 1:
        return parts[0]
    path = find_run(runs.folder, text)  # a path, or the error that fits
    if path.name not in runs.by_id or path.parent.resolve() != runs.folder.resolve():
        raise UserError(f"{path} is not in {runs.folder}; name its folder of runs with --output-dir")
    return runs.by_id[path.name]


def ranking(rows: Iterable[Row], metric: str) -> list[Row]:
    """The runs that have `metric`, best first."""
    scored = [row for row in rows if value_of(row, metric) is not None]
    lower = lower_is_better(scored, metric)
    return sorted(scored, key=lambda row: value_of(row, metric) or 0.0, reverse=not lower)


def lower_is_better(rows: Iterable[Row], metric: str) -> bool:
    """Told by the records (which of last and best is smaller), else by the name."""
    for row in rows:
        entry = row["metrics"].get(metric.removesuffix(".last")) or {}
        last, best = entry.get("last"), entry.get("best")
        # A test score is noted once per test and may have been noted by older code: only selection tells.
        if last is not None and best is not None and last != best:
            return bool(best < last)
    return bool(_LOWER.search(metric))


def _parent(runs: Runs, row: Row) -> Row:
    parent = row["parent"]
    if not parent:
        raise UserError(f"{row['id']} has no parent")
    if parent not in runs.by_id:
        raise UserError(f"{row['id']}: its parent {parent} is not in {runs.folder} (removed? exp.py undo)")
    return runs.by_id[parent]
