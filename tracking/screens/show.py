"""`exp.py show RUN`: one run on one screen, and its log as it grows."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tracking import wording
from tracking.judging import claim
from tracking.reading import diff, listing
from tracking.reading.configs import read_origins
from tracking.reading.index import Runs
from tracking.reading.summary import Row, value_of
from tracking.record import read_record, state_of
from utils.errors import UserError
from utils.files import size

_PLACES = (
    "weights",
    "crash",
    "figures",
    "runs",
    "scripts",
    "log.txt",
    "metrics.jsonl",
    "test.json",
    "predictions.csv",
    "config.yml",
    "notes.md",
)
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


def lines(runs: Runs, row: Row) -> list[tuple[str, str]]:
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


def metric_rows(runs: Runs, row: Row) -> list[tuple[str, float | None, float | None, Any, float | None]]:
    """(name, last, best, best step, the parent's best), the primary metric first."""
    parent = runs.by_id.get(row["parent"])
    names = sorted(row["metrics"], key=lambda name: (name != row["primary_metric"], name.startswith("test/"), name))
    found = []
    for name in names:
        entry = row["metrics"][name]
        theirs = value_of(parent, name) if parent else None
        found.append((name, entry["last"], entry["best"], entry["best_step"], theirs))
    return found


def places(path: Path) -> list[tuple[str, str]]:
    """(where, how much) of what the run left."""
    found = []
    for name in _PLACES:
        place = path / name
        if place.is_dir():
            files = [p for p in place.rglob("*") if p.is_file()]
            if files:
                found.append(
                    (
                        f"{name}/",
                        f"{len(files)} file{'s' * (len(files) != 1)}, {size(sum(p.stat().st_size for p in files))}",
                    )
                )
        elif place.is_file():
            found.append((name, size(place.stat().st_size)))
    return found


def follow(path: Path, count: int, forever: bool, pause: float = 0.5) -> Iterator[str]:
    """The last `count` lines of a run's log; with `forever`, then what is added, until the run is over."""
    log = path / "log.txt"
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            yield from file.read().splitlines()[-count:] if count else []
            while forever:
                running = state_of(read_record(path)) == "running"
                yield from file.read().splitlines()
                if not running:
                    return
                time.sleep(pause)
    except OSError as error:
        raise UserError(f"{log}: {error.strerror}") from error


def _progress(status: dict[str, Any]) -> str:
    progress = status.get("progress")
    if not isinstance(progress, dict) or not progress.get("step"):
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
        found.append(("code", f"{name} +{added} -{removed}" if added >= 0 else f"{name} (no text)"))
    if len(counts) > _FILES_SHOWN:
        found.append(("code", f"and {len(counts) - _FILES_SHOWN} more files: exp.py diff {row['id']}"))
    if len(found) == 1:
        found.append(("changed", "nothing: neither config nor code"))
    return found


def _more(row: Row, run: dict[str, Any], status: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    if isinstance(run.get("command"), list):
        found.append(("command", shlex.join(map(str, run["command"]))))
    if row["git"].get("commit"):
        dirty = ", with uncommitted changes" if row["git"].get("dirty") else ""
        found.append(("git", f"{row['git']['commit'][:12]} on {row['git'].get('branch') or 'no branch'}{dirty}"))
    environment = run.get("environment")
    device = f", {environment['device']}" if isinstance(environment, dict) and environment.get("device") else ""
    found.append(
        (
            "machine",
            f"{row['host'] or 'unknown'}{device}; seed {row['seed']}; {row['sessions']} session{'s' * (row['sessions'] != 1)}",
        )
    )
    session = (status.get("sessions") or [{}])[-1]
    if session.get("slurm_job_id") or session.get("job_log"):
        found.append(("job", ", ".join(filter(None, (session.get("slurm_job_id"), session.get("job_log"))))))
    for key, value in row["resumed_with"].items():
        found.append(("resumed with", f"{key}: {wording.value(value)}"))
    for label, content in (("code edited during the run", status.get("code_edited")), ("not copied", run.get("code_skipped"))):
        if isinstance(content, dict) and content:
            shown = [f"{k} ({', '.join(v) if isinstance(v, list) else v})" for k, v in content.items()]
            found.append((label, ", ".join(shown[:5])))
    return found
