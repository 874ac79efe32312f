"""The end of a training that a signal, or its sweep, stops: all is saved, and under SLURM the job queues itself again."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from engine.slurm import requeue
from utils.interrupts import Interrupted

if TYPE_CHECKING:
    from engine.trainer import Trainer

LOG = logging.getLogger("fieldbook.engine")
INTERRUPTED = 75  # exit code of a run that can be resumed


def stopped(trainer: Trainer, run: Any, reason: str, max_requeues: int) -> int:
    """Closes the record; the exit code. A job of SLURM is started again `max_requeues` times at most."""
    from engine import distributed  # torch takes seconds, which the end before there was a run does not need

    run.finish("interrupted", reason)
    LOG.info("stopped by %s at step %d; go on with --resume %s", reason, trainer.step, run.id)
    if trainer.is_main and reason.startswith("signal"):
        requeue(reason, max_requeues)
    if reason == trainer.stop_reason:  # all ranks stop; SLURM ends a job at its first rank to leave, so they leave together
        with contextlib.suppress(RuntimeError):  # one is gone already
            distributed.barrier()
    return INTERRUPTED


def stopped_early(stop: Interrupted, max_requeues: int) -> int:
    """The end at a signal that came before there was a run."""
    LOG.info("stopped by %s before there was anything to save", stop)
    if os.environ.get("RANK", "0") == "0":
        requeue(str(stop), max_requeues)
    return 128 + stop.number
