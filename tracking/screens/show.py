"""`exp.py show RUN`: one run on one screen, and its log as it grows."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from tracking import wording
from tracking.judging import claim
from tracking.reading import diff, listing
from tracking.reading.configs import read_origins
from tracking.reading.index import Runs
from tracking.reading.summary import Row, value_of
from tracking.record import read_metrics, read_record, state_of
from tracking.screens import tables
from tracking.screens.sparkline import sparkline
from utils.errors import UserError
from utils.files import size

_PLACES = (
    "weights", "crash", "figures", "runs", "scripts", "log.txt", "metrics.jsonl", "test.json", "predictions.csv",
    "config.yml", "notes.md",
)  # fmt: skip
_FILES_SHOWN = 8


def as_object(runs: Runs, row: Row) -> dict[str, Any]:
    """All of a run that fits a screen, as `show --json` prints it."""
    path = runs.path(row)
    record = read_record(path)
    parent = runs.by_id.get(row["parent"])
    codes = diff.code_between(runs.path(parent), path) if parent else None
    return {
        **listing.as_object(runs, row),
        "notes": record.notes.get("Notes", ""),
        "proposed_verdict": (claim.judge(runs, row) or {}).get("proposal", ""),
        "code": diff.code(*codes) if codes else None,
        "command": record.run.get("command", []),
        "host": row["host"],
        "git": row["git"],
        "data": record.run.get("data", {}),
        "progress": record.status.get("progress", {}),
        "sessions": record.status.get("sessions", []),
        "code_skipped": record.run.get("code_skipped", {}),
        "code_edited": record.status.get("code_edited", {}),
        "config": runs.config(row["id"]),
        "files": {name: str(path / name) for name in _PLACES if (path / name).exists()},
    }


def print_run(runs: Runs, row: Row) -> None:
    """The card, the metrics with their curves, and where things are."""
    screen = tables.console()
    screen.print(tables.panel(row["id"], _lines(runs, row), tables.STYLES.get(row["status"], "")))
    if row["metrics"]:
        screen.print(_metrics(runs, row, curve_width=min(max(screen.width - 64, 12), 60)))
        screen.print()
    screen.print(f"in {runs.path(row)}/", soft_wrap=True)
    for place, amount in _places(runs.path(row)):
        screen.print(Text.assemble(f"  {place:<16}", (amount, "dim")))


def _metrics(runs: Runs, row: Row, curve_width: int) -> Table:
    """Each metric with its curve, the primary one first; beside the parent's where that has any of them."""
    parent = runs.by_id.get(row["parent"])
    names = sorted(row["metrics"], key=lambda name: (name != row["primary_metric"], name.startswith("test/"), name))
    theirs = {name: value_of(parent, name) for name in names} if parent else {}
    has_parent = any(value is not None for value in theirs.values())
    columns = ("metric", "last", "best", "at step", *(("parent", "difference") if has_parent else ()))
    made = tables.table(*columns, "curve", right=columns[1:])
    logged = read_metrics(runs.path(row) / "metrics.jsonl")
    for name in names:
        last, best, step = (row["metrics"][name][key] for key in ("last", "best", "best_step"))
        cells = [name, wording.number(last), wording.number(best), "-" if step is None else str(step)]
        if has_parent:
            gap = None if best is None or theirs[name] is None else best - theirs[name]
            cells += [wording.number(theirs[name]), wording.signed(gap)]
        curve = sparkline([line[name] for line in logged if name in line], curve_width)
        made.add_row(*cells, curve, style="bold" if name == row["primary_metric"] else "")
    return made


def _lines(runs: Runs, row: Row) -> list[tuple[str, str]]:
    """(label, text) rows of the card; a label repeated continues the one above."""
    path = runs.path(row)
    record = read_record(path)
    found = [("problem", problem) for problem in row["problems"]]
    state = row["status"] + (f": {row['reason']}" if row["reason"] else "")
    found.append(("status", f"{state}; {_progress(record.status)}{wording.duration(row['seconds'])}, {_when(row)}"))
    found.append(("why", row["why"] or "(not given)"))
    if row["expect"]:
        found.append(("expected", row["expect"]))
    judged = claim.judge(runs, row)
    found += [("verdict", row["verdict"])] if row["verdict"] else []
    if judged:
        found.append(("judged" if row["verdict"] else "proposed verdict", judged["proposal"]))
    elif not row["verdict"] and row["status"] != "running" and (row["why"] or row["expect"]):
        found.append(("verdict", f"none yet: exp.py verdict {row['id']} TEXT"))
    found += [("tags", " ".join(row["tags"]))] if row["tags"] else []
    found += [("notes", line) for line in record.notes.get("Notes", "").splitlines() if line.strip()]
    found += _against_parent(runs, row)
    found += _more(row, record.run, record.status)
    return found


def _places(path: Path) -> list[tuple[str, str]]:
    """(where, how much) of what the run left."""
    found = []
    for name in _PLACES:
        place = path / name
        if place.is_dir():
            files = [p for p in place.rglob("*") if p.is_file()]
            if files:
                count = f"{len(files)} file{'s' * (len(files) != 1)}"
                found.append((f"{name}/", f"{count}, {size(sum(p.stat().st_size for p in files))}"))
        elif place.is_file():
            found.append((name, size(place.stat().st_size)))
    return found


def follow(path: Path, count: int, forever: bool) -> Iterator[str]:
    """The last `count` lines of a run's log; with `forever`, then what is added, until the run is over."""
    log = path / "log.txt"
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
            yield from lines[-count:] if count else []
            while forever:
                running = state_of(read_record(path)) == "running"
                yield from file.read().splitlines()
                if not running:
                    return
                time.sleep(0.5)
    except OSError as error:
        raise UserError(f"{log}: {error.strerror}") from error


def _progress(status: dict[str, Any]) -> str:
    progress = status.get("progress", {})
    if not progress.get("step"):
        return ""
    return f"epoch {progress.get('epoch')}, step {progress.get('step')} of {progress.get('total_steps')}; "


def _when(row: Row) -> str:
    ago = wording.age(row["started"])
    return f"started {row['started']}" + (f", {ago} ago" if ago not in ("now", "-") else "")


def _against_parent(runs: Runs, row: Row) -> list[tuple[str, str]]:
    """What was changed, each config key with both origins, each file with its lines."""
    if not row["parent"]:
        return [("parent", "none")]
    parent = runs.by_id.get(row["parent"])
    if parent is None:
        return [("parent", f"{row['parent']} (not here any more)")]
    paths = (runs.path(parent), runs.path(row))
    old, new = (read_origins(path) for path in paths)
    found = [("parent", row["parent"] + (" (a guess: the most similar config)" if row["parent_guess"] else ""))]
    for key, (before, after) in runs.changes(row).items():
        sources = [wording.origin(side.get(key, "unknown")) for side in (old, new)]
        found.append(("config", f"{key}: {wording.value(before)} ({sources[0]}) → {wording.value(after)} ({sources[1]})"))
    codes = diff.code_between(*paths)
    if codes is None:
        found.append(("code", "unknown of one of the two"))
    counts = diff.line_counts(*codes) if codes else []
    for name, added, removed in counts[:_FILES_SHOWN]:
        found.append(("code", tables.line_count(name, added, removed)))
    if len(counts) > _FILES_SHOWN:
        found.append(("code", f"and {len(counts) - _FILES_SHOWN} more files: exp.py diff {row['id']}"))
    if len(found) == 1:
        found.append(("changed", "nothing: neither config nor code"))
    return found


def _more(row: Row, run: dict[str, Any], status: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    if run.get("command"):
        found.append(("command", shlex.join(map(str, run["command"]))))
    if row["git"].get("commit"):
        dirty = ", with uncommitted changes" if row["git"].get("dirty") else ""
        found.append(("git", f"{row['git']['commit'][:12]} on {row['git'].get('branch') or 'no branch'}{dirty}"))
    machine = ", ".join(filter(None, (row["host"] or "unknown", run.get("environment", {}).get("device"))))
    sessions = f"{row['sessions']} session{'s' * (row['sessions'] != 1)}"
    found.append(("machine", f"{machine}; seed {row['seed']}; {sessions}"))
    session = (status.get("sessions") or [{}])[-1]
    if session.get("slurm_job_id") or session.get("job_log"):
        found.append(("job", ", ".join(filter(None, (session.get("slurm_job_id"), session.get("job_log"))))))
    for key, value in row["resumed_with"].items():
        found.append(("resumed with", f"{key}: {wording.value(value)}"))
    for label, content in (("code edited during the run", status.get("code_edited")), ("not copied", run.get("code_skipped"))):
        if content:
            shown = [f"{k} ({', '.join(v) if isinstance(v, list) else v})" for k, v in content.items()]
            found.append((label, ", ".join(shown[:5])))
    return found
