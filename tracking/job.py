"""Which job a process belongs to, so that a command which its scheduler or launcher started again can find its own run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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


def was_restarted() -> bool:
    """Whether this is not the first start of the job or launcher."""
    return bool(_started_again())


def is_own(session: dict[str, Any]) -> bool:
    """Whether a session was of this very job or launcher, started again since: then it has ended, whatever it looks like."""
    own = facts()
    return any(own[key] and session.get(key) == own[key] for key in _started_again())


def began(path: Path) -> bool:
    """Whether this job or launcher, since started again, had a part in a run."""
    return any(map(is_own, read_record(path).status.get("sessions", [])))


def _started_again() -> list[str]:
    """Which of `facts` name something that was started again."""
    counts = {"slurm_job_id": restarts(), "launcher": _count("TORCHELASTIC_RESTART_COUNT")}
    return [key for key, count in counts.items() if count > 0]


def _count(key: str) -> int:
    text = os.environ.get(key, "")
    return int(text) if text.isdecimal() else 0
