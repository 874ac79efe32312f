"""Reading one run's record: plain data, tolerant of torn, missing and hand-edited files."""

from __future__ import annotations

import json
import math
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracking.environment import boot_id, host
from tracking.notes import parse_notes, tags_in

SCHEMA = 1
_NO_SOURCE = ("tests/", "docs/", "benchmarks/")
DEPTH = 50  # of a record's JSON: deeper ones are no record, and cannot be written again
_SESSION: dict[str, Any] = {"changes": {}, "code_digest": ""}
HEARTBEAT_LOST = 90.0  # seconds
# What readers rely on. A key of another type counts as absent and is named in the record's problems.
_SHAPES: dict[str, dict[str, type | tuple[type, ...]]] = {
    "run.json": {
        **dict.fromkeys(("name", "why", "expect", "parent", "started", "host", "boot_id", "adopted"), str),
        **dict.fromkeys(("config_digest", "code_digest", "tree_digest"), str),
        **dict.fromkeys(("origins", "data", "environment", "git", "code_skipped"), dict),
        **dict.fromkeys(("tags", "command"), list),
        **dict.fromkeys(("schema", "world_size", "pid"), int),
    },
    "status.json": {
        **dict.fromkeys(("status", "reason", "ended", "primary_metric"), str),
        **dict.fromkeys(("progress", "metrics", "code_edited"), dict),
        **dict.fromkeys(("sessions", "lower_is_better"), list),
        "seconds": (int, float),
        "schema": int,
    },
}


@dataclass
class Record:
    """A run folder, read. `problems` says what could not be."""

    path: Path
    run: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def name(self) -> str:
        """The run's name, without the date."""
        return self.run.get("name") or re.sub(r"_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?$", "", self.id)

    @property
    def tags(self) -> list[str]:
        """People edit notes.md, so it wins over the facts of the start."""
        return tags_in(self.notes["Tags"]) if "Tags" in self.notes else [str(tag) for tag in self.run.get("tags", [])]

    @property
    def changes(self) -> dict[str, list[Any]]:
        """Config keys that were changed when the run was resumed: {key: [old, new]}, over all its sessions."""
        merged: dict[str, list[Any]] = {}
        for session in self.status.get("sessions", []):
            for key, value in session.get("changes", {}).items():
                old, new = value if isinstance(value, list) and len(value) == 2 else (None, value)
                merged[key] = [merged[key][0] if key in merged else old, new]
        return merged

    @property
    def overrides(self) -> list[tuple[str, Any]]:
        """The values that those keys have now, as `config.load_run` takes them."""
        return [(key, new) for key, (_, new) in self.changes.items()]


def read_record(path: Path) -> Record:
    """Whatever can be read of the record in `path`; never raises."""
    record = Record(path)
    record.run = _read(path / "run.json", record.problems)
    record.status = _read(path / "status.json", record.problems)
    for name, content in (("run.json", record.run), ("status.json", record.status)):
        if content.get("schema", SCHEMA) > SCHEMA:
            record.problems.append(f"{path / name}: written by newer code (schema {content['schema']})")
    _check_parts(record)
    try:
        record.notes = parse_notes((path / "notes.md").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        record.problems.append(f"{path / 'notes.md'}: {error}")
    return record


def _read(file: Path, problems: list[str]) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text)
        if text.count("[") + text.count("{") > DEPTH and _is_deep(content):
            raise ValueError(f"nested more than {DEPTH} deep")
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{file}: {error}")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{file}: no JSON object")
        return {}
    for key, kinds in _SHAPES[file.name].items():
        value = content.get(key)
        if key in content and (not isinstance(value, kinds) or isinstance(value, bool)):
            problems.append(f"{file}: {key} is {json.dumps(value)[:60]}, not what it should be")
            del content[key]
    return content


def _is_deep(content: Any) -> bool:
    layer = [content]
    for _ in range(DEPTH):
        layer = [inner for one in layer for inner in (one.values() if isinstance(one, dict) else one)]
        layer = [one for one in layer if isinstance(one, dict | list)]
        if not layer:
            return False
    return True


def _check_parts(record: Record) -> None:
    """The same for what lies one level deeper: sessions and metrics."""
    file = record.path / "status.json"
    sessions, metrics = record.status.get("sessions", []), record.status.get("metrics", {})
    if not all(isinstance(s, dict) and all(isinstance(s.get(k, d), type(d)) for k, d in _SESSION.items()) for s in sessions):
        record.problems.append(f"{file}: sessions are not as they should be")
        record.status["sessions"] = []
    if not _is_score(record.status.get("seconds", 0.0)):
        record.problems.append(f"{file}: seconds is no finite number")
        del record.status["seconds"]
    for name, entry in list(metrics.items()):
        if not isinstance(entry, dict) or not all(_is_score(entry.get(key)) for key in ("last", "best")):
            record.problems.append(f"{file}: metrics {name!r}: expected last, best and best_step, got {str(entry)[:60]!r}")
            del metrics[name]


def _is_score(value: Any) -> bool:
    try:
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
    except OverflowError:
        return False


def is_source(name: str) -> bool:
    """Whether a copied file can change what a run computes: Python outside tests, docs and benchmarks."""
    return name.endswith(".py") and not name.startswith(_NO_SOURCE)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a torn last line, and what is no object, is passed over."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def state_of(record: Record) -> str:
    """running, finished, failed, interrupted; lost: said to run, but its process or its heartbeat is gone; broken."""
    status = str(record.status.get("status", "broken"))
    return "lost" if status == "running" and not is_alive(record) else status


def is_alive(record: Record) -> bool:
    """Whether the process of the newest session still runs, as far as can be told from here."""
    session = (record.status.get("sessions") or [{}])[-1]
    here = session.get("host") == host() and session.get("boot_id") == boot_id()
    if here and not process_exists(session.get("pid")):
        return False
    try:  # also here: the number may by now be another process's
        return time.time() - (record.path / "status.json").stat().st_mtime < HEARTBEAT_LOST
    except OSError:
        return False


def process_exists(pid: Any) -> bool:
    """Whether a process of this machine, whose number a record has, is there and not only waits to be waited for."""
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True
