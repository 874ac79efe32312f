"""Which run is meant: by a word (a folder, a name, a part of one, last, last~2, best:METRIC, or any of them with ^), as the
parent of a new run, or by a job that was started again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tracking import job
from tracking.reading.configs import same
from tracking.reading.index import Runs, load
from tracking.reading.summary import Row, metric_names, value_of
from tracking.record import Record, read_record
from utils.errors import UserError
from utils.redact import redact_command
from utils.registry import nearest

_NO_BASELINE = {"debug", "sweep"}  # tags of runs that are no parent unless they are named
_CANDIDATES = 20  # newest runs among which a parent is guessed
_LOWER = re.compile(r"loss|error|mae|mse|perplexity|(^|/)time", re.IGNORECASE)


def find_run(folder: Path, text: str, write: bool = False) -> Path:
    """The folder of the run that `text` means, among the runs in `folder` or anywhere as a path.

    Args:
        write: bring the index up to date on the way.

    Raises:
        UserError: there is no such run, or several; the message lists the candidates.
    """
    if text.endswith("^"):
        return _parent_of(find_run(folder, text[:-1], write))
    for path in (Path(text), folder / text):
        if text and (path / "run.json").is_file():
            return path.resolve()
    runs = load(folder, trust="best:" not in text, write=write)
    return runs.path(find_row(runs, text))


def find_row(runs: Runs, text: str, strict: bool = False) -> Row:
    """As `find_run`, among runs that were loaded already.

    Args:
        strict: a name that several runs bear is ambiguous (for what removes), not the newest of them.

    Raises:
        UserError: as `find_run`; also for a run that lies in another folder than the others.
    """
    if text.endswith("^"):
        return runs.by_id[_parent_of(runs.path(find_row(runs, text[:-1], strict))).name]
    if text in runs.by_id:
        return runs.by_id[text]
    back = re.fullmatch(r"last(?:~(\d+))?", text)
    if back:
        return _last(runs, text, int(back[1] or 0))
    if text.startswith("best:"):
        return _best(runs, text.removeprefix("best:"))
    if text and (Path(text) / "run.json").is_file():
        return _at(runs, Path(text).resolve())
    named = [row for row in runs.rows if row["name"] == text]
    if len(named) > 1 and strict:
        raise UserError(f"{text!r} is the name of {len(named)} runs: {_some_of(named)}; give more of the folder's name")
    if named:
        return named[-1]
    parts = [row for row in runs.rows if text and text in row["id"]]
    if len(parts) > 1:
        raise UserError(f"{text!r} could be {_some_of(parts)}; give more of the name")
    if not parts:
        known = nearest(text, [row["id"] for row in runs.rows] + sorted({row["name"] for row in runs.rows}))
        raise UserError(f"no run {text!r} in {runs.folder}{known}" + ("" if runs.rows else "; tools/train_net.py makes them"))
    return parts[0]


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
        return read_record(find_run(folder, explicit)), False
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


def find_own(folder: Path, name: str, command: list[str] | None = None) -> Path | None:
    """The run of this name that this job had a part in before it was started again: the newest unfinished one, or else the
    newest; None if this is the first start, or it never came so far as to make a run.

    Args:
        command: only runs that this command began.
    """
    if not job.was_restarted():
        return None
    runs = load(folder, write=False)
    command = redact_command(command) if command else None
    found = None
    for row in reversed([row for row in runs.rows if row["name"] == name]):
        path = runs.path(row)
        if job.began(path) and command in (None, read_record(path).run.get("command")):
            if row["status"] != "finished":
                return path
            found = found or path
    return found


def ranking(rows: Iterable[Row], metric: str) -> list[Row]:
    """The runs that have `metric`, best first."""
    scored = [row for row in rows if value_of(row, metric) is not None]
    lower = lower_is_better(scored, metric)
    return sorted(scored, key=lambda row: value_of(row, metric) or 0.0, reverse=not lower)


def lower_is_better(rows: Iterable[Row], metric: str) -> bool:
    """As the newest record that has the metric says; where none does (adopted runs), told by the name."""
    name = metric.removesuffix(".last")
    for row in reversed(list(rows)):
        if name in row["metrics"] and row["lower_is_better"] is not None:
            return name in row["lower_is_better"]
    return bool(_LOWER.search(name))


def _last(runs: Runs, text: str, back: int) -> Row:
    if back >= len(runs.rows):
        raise UserError(f"{text}: there are only {len(runs.rows)} runs in {runs.folder}")
    return runs.rows[-1 - back]


def _best(runs: Runs, metric: str) -> Row:
    ranked = ranking(runs.rows, metric)
    if not ranked:
        raise UserError(f"best:{metric}: no run in {runs.folder} has that metric{nearest(metric, metric_names(runs.rows))}")
    return ranked[0]


def _at(runs: Runs, path: Path) -> Row:
    if path.name not in runs.by_id or path.parent != runs.folder.resolve():
        raise UserError(f"{path} is not in {runs.folder}; name its folder of runs with --output-dir")
    return runs.by_id[path.name]


def _parent_of(path: Path) -> Path:
    parent = read_record(path).run.get("parent")
    if not parent:
        raise UserError(f"{path.name} has no parent")
    if not (path.parent / parent / "run.json").is_file():
        raise UserError(f"{path.name}: its parent {parent} is not in {path.parent} (removed? exp.py undo)")
    return path.parent / parent


def _some_of(rows: list[Row]) -> str:
    return ", ".join(row["id"] for row in rows[-5:])
