"""Which job a process belongs to, so that a command which its scheduler or launcher started again finds its own run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tracking import environment
from tracking.reading.index import load
from tracking.record import read_record


def slurm_job() -> str:
    """The id that scontrol knows this SLURM job by, `<job>` or `<array>_<task>`; "" outside of SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID", ""), os.environ.get("SLURM_ARRAY_TASK_ID", "")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")


def launcher() -> str:
    """What names this rank's torchrun, the same on all its hosts; "" outside of it. Its run id, or where that is none, the
    place where its ranks meet."""
    run_id = os.environ.get("TORCHELASTIC_RUN_ID", "")
    return f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}" if run_id == "none" else run_id


def facts() -> dict[str, str]:
    """What a session of a run records; `job_log` is the file that tools/submit.py's job prints into."""
    return {"slurm_job_id": slurm_job(), "launcher": launcher(), "job_log": os.environ.get("FIELDBOOK_JOB_LOG", "")}


def restarts() -> int:
    """How often SLURM started this job again."""
    return _count("SLURM_RESTART_COUNT") if slurm_job() else 0


def is_own(session: dict[str, Any]) -> bool:
    """Whether a session was of this very job or launcher, started again since: then it has ended, whatever it looks like."""
    own = facts()
    again = {"slurm_job_id": restarts(), "launcher": _count("TORCHELASTIC_RESTART_COUNT")}
    return any(own[key] and session.get(key) == own[key] for key, count in again.items() if count > 0)


def began(path: Path) -> bool:
    """Whether this job or launcher, since started again, had a part in a run."""
    return any(map(is_own, read_record(path).status.get("sessions", [])))


def find_own(folder: Path, name: str, command: list[str] | None = None) -> Path | None:
    """The run of this name that this job had a part in before it was started again: the newest unfinished one, or else the
    newest; None if this is the first start, or it never came so far as to make a run.

    Args:
        command: only runs that this command began.
    """
    if not restarts() and not _count("TORCHELASTIC_RESTART_COUNT"):
        return None
    runs = load(folder, write=False)
    command = environment.without_secrets(command) if command else None
    found = None
    for row in reversed([row for row in runs.rows if row["name"] == name]):
        path = runs.path(row)
        if began(path) and command in (None, read_record(path).run.get("command")):
            if row["status"] != "finished":
                return path
            found = found or path
    return found


def _count(key: str) -> int:
    text = os.environ.get(key, "")
    return int(text) if text.isdecimal() else 0
