"""A job that SLURM stops puts itself into the queue again."""

from __future__ import annotations

import logging
import signal
import subprocess

from engine.hooks.trial import is_trial
from tracking import job

LOG = logging.getLogger("fieldbook.engine")


def requeue(reason: str, limit: int) -> bool:
    """Called by rank 0 when all is saved: puts this job into the queue again; whether it did.

    Not outside of SLURM; not from a trial, whose sweep does it when all its trials have ended; and not where a person stops
    it: by SIGINT, or by scancel, which comes as SIGTERM when SLURM is ending the job already. The job then runs the same
    script again, and the same command in it goes on with its own run (tracking/job.py).

    Args:
        reason: "signal SIGTERM".
        limit: how often a job may be started again.
    """
    number = job.slurm_job()
    if not number or is_trial() or reason.endswith(signal.SIGINT.name):
        return False
    if job.restarts() >= limit:
        LOG.warning("SLURM job %s is not requeued: it was %d times, DISTRIBUTED.MAX_REQUEUES", number, job.restarts())
        return False
    if reason.endswith(signal.SIGTERM.name) and _state(number) in ("CANCELLED", "COMPLETING"):
        LOG.warning(
            "SLURM job %s is not requeued: SLURM is ending it, as scancel does; `#SBATCH --signal=USR1@120` lets it save and "
            "requeue before its time is up", number,
        )  # fmt: skip
        return False
    try:
        done = subprocess.run(["scontrol", "requeue", number], capture_output=True, text=True, timeout=60)
        problem = "" if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
    except FileNotFoundError:
        problem = "there is no scontrol on PATH here"
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if problem:
        LOG.warning("SLURM job %s could not be requeued (%s): `scontrol requeue %s` by hand", number, problem, number)
        return False
    LOG.info("SLURM job %s is requeued", number)
    return True


def _state(number: str) -> str:
    """What squeue says of a job; "" where it cannot be asked."""
    try:
        asked = subprocess.run(["squeue", "-h", "-j", number, "-o", "%T"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip()
