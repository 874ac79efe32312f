"""One run in a row of plain values: what lists, queries, groups and the index know of it. Never its curves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tracking.record import is_source, read_record, state_of

Row = dict[str, Any]

ENDED = ("finished", "failed", "interrupted")  # what only a person, or a resumed run, changes again
_DATE = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")
_TEXTS = ("parent", "started", "host", "config_digest", "code_digest", "tree_digest")


def summarize(path: Path) -> Row:
    """The row of the run in `path`; what cannot be read is empty there and said in `problems`. Never raises."""
    record = read_record(path)
    run, status = record.run, record.status
    row: Row = {"id": path.name, "name": record.name, **{key: run.get(key, "") for key in _TEXTS}}
    row["started"] = row["started"] or date_in(path.name)
    row["status"] = state_of(record)
    row |= {key: status.get(key, "") for key in ("ended", "reason", "primary_metric")}
    row["seconds"] = float(status.get("seconds", 0.0))
    row["sessions"] = len(status.get("sessions", []))
    row["resumed_with"] = record.changes
    row["other_code"] = _other_code(run.get("code_digest", ""), status)
    row["seed"] = run.get("seed")
    row["git"] = run.get("git", {})
    splits = {name: split for name, split in run.get("data", {}).items() if isinstance(split, dict)}
    row["data"] = " ".join(sorted({str(split.get("name", "")) for split in splits.values()}))
    row["data_digests"] = {name: str(split.get("digest") or "") for name, split in splits.items()}
    row["adopted"] = bool(run.get("adopted"))
    row["parent_guess"] = bool(run.get("parent_guess"))
    notes = record.notes
    row["why"] = notes.get("Why") or run.get("why", "")
    row["expect"] = notes.get("Expected") or run.get("expect", "")
    row["verdict"] = notes.get("Verdict", "")
    row["tags"] = record.tags
    metrics = status.get("metrics", {})
    row["metrics"] = {name: {k: entry.get(k) for k in ("last", "best", "best_step")} for name, entry in metrics.items()}
    row["lower_is_better"] = status.get("lower_is_better")
    row["value"] = value_of(row, row["primary_metric"])
    row["problems"] = record.problems
    return row


def _other_code(digest: str, status: dict[str, Any]) -> str:
    """Why the code of the start is not all that the run's numbers come from, or ""."""
    used = {session["code_digest"] for session in status.get("sessions", []) if session.get("code_digest")}
    if digest and used - {digest}:
        return "it was resumed with other code"
    edited = [name for names in status.get("code_edited", {}).values() if isinstance(names, list) for name in names]
    return "its code was edited while it ran" if any(is_source(str(name)) for name in edited) else ""


def value_of(row: Row, metric: str) -> float | None:
    """The value a run is judged by: its best of `metric`, or, with `metric` ending in `.last`, its last."""
    entry = row["metrics"].get(metric.removesuffix(".last"))
    if not entry:
        return None
    value = entry.get("last") if metric.endswith(".last") or entry.get("best") is None else entry.get("best")
    return None if value is None else float(value)


def metric_names(rows: Iterable[Row]) -> list[str]:
    """The metrics of which some run has a number."""
    return sorted({name for row in rows for name in row["metrics"] if value_of(row, name) is not None})


def date_in(text: str) -> str:
    """The date of a folder's name as it stands there, or ""."""
    match = _DATE.search(text)
    return match[0] if match else ""
