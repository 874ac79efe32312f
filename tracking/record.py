"""Reading one run's record: plain data, tolerant of torn, missing and hand-edited files."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracking.environment import boot_id, host

SCHEMA = 1
HEARTBEAT_LOST = 90.0  # seconds
NOTES = ("Why", "Expected", "Verdict", "Tags", "Notes")


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
        return str(self.run.get("name") or re.sub(r"_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?$", "", self.id))


def read_record(path: Path) -> Record:
    """Whatever can be read of the record in `path`."""
    record = Record(path)
    for attribute, file in (("run", "run.json"), ("status", "status.json")):
        try:
            content = json.loads((path / file).read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("no JSON object")
            setattr(record, attribute, content)
        except (OSError, ValueError) as error:
            record.problems.append(f"{path / file}: {error}")
    if record.run.get("schema", SCHEMA) > SCHEMA:
        record.problems.append(f"{path / 'run.json'}: written by newer code (schema {record.run['schema']})")
    try:
        record.notes = parse_notes((path / "notes.md").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        record.problems.append(f"{path / 'notes.md'}: {error}")
    return record


def parse_notes(text: str) -> dict[str, str]:
    """notes.md as heading -> text below it; only the five headings of the contract divide it."""
    parts = re.split(rf"^# ({'|'.join(NOTES)})[ \t]*$", text, flags=re.MULTILINE)
    return {heading: body.strip() for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def notes_text(why: str, expect: str, tags: list[str]) -> str:
    """A new notes.md."""
    filled = {"Why": why, "Expected": expect, "Tags": " ".join(tags)}
    return "\n".join(f"# {heading}\n{filled.get(heading, '')}\n" for heading in NOTES)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a torn last line is passed over."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def state_of(record: Record) -> str:
    """running, finished, failed, interrupted, or lost: said to run, but the process or its heartbeat is gone."""
    status = str(record.status.get("status", "failed"))
    return "lost" if status == "running" and not is_alive(record) else status


def is_alive(record: Record) -> bool:
    """Whether the process of the newest session still runs, as far as can be told from here."""
    session = (record.status.get("sessions") or [{}])[-1]
    if session.get("host") == host() and session.get("boot_id", "") == boot_id():
        return _process_exists(int(session.get("pid", -1)))
    try:
        return time.time() - (record.path / "status.json").stat().st_mtime < HEARTBEAT_LOST
    except OSError:
        return False


def _process_exists(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # a process that ended but was not waited for is gone all the same
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True
