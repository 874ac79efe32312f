"""What is kept of a step that went wrong, in `crash/` of the run, so that tools/replay.py can make exactly it again."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine import distributed
from engine.checkpoint import CheckpointWriter
from engine.numbers import Step
from utils.files import write_atomic

if TYPE_CHECKING:
    from engine.trainer import Trainer

LOG = logging.getLogger("fieldbook.engine")
STATE = "state.pt"  # of the newest such step: weights before it, generators as it began
MOST = 100  # records of a run; what is skipped for ever must not fill the disk


def record_crash(run: Any, trainer: Trainer, step: Step, spoilt: bool) -> None:
    """Writes `crash/step_NNNNNNNN.json` and, unless the weights are spoilt, `crash/state.pt`. All ranks must call it.

    A disk that is full is warned of: what was found matters more than its record.
    """
    state = trainer.state_dict()
    state["progress"] = {"epoch": step.epoch, "step": step.step, "step_in_epoch": step.step_in_epoch}
    for own, generators in zip(state["generators"]["ranks"], distributed.gather(step.generators), strict=True):
        own["torch"] = generators[0]
        if generators[1] is not None and trainer.device.index is not None:
            own["cuda"][trainer.device.index] = generators[1]
    facts = {
        "epoch": step.epoch,
        "step": step.step,
        "step_in_epoch": step.step_in_epoch,
        "learning_rate": trainer.schedule(step.step),
        "world_size": distributed.world_size(),
        "device": str(trainer.device),
        "weights": "moved by the step" if spoilt else "as before the step",
        "gradients": [] if spoilt else bad_gradients(trainer.task)[:20],
        "samples": distributed.gather(step.indices),  # of each rank, of each micro-batch
    }
    if not trainer.is_main:
        return
    try:
        _write(run.path / "crash", facts, None if spoilt else state)
    except OSError as error:
        LOG.warning("the step that is not finite could not be recorded in crash/ (%s)", error)


def bad_gradients(task: torch.nn.Module) -> list[str]:
    """Names of the parameters whose gradient has a NaN or an infinity. Waits for the device."""
    grads = [(name, p.grad) for name, p in task.named_parameters() if p.grad is not None]
    return [name for name, grad in grads if not bool(torch.isfinite(grad).all())]


def crashes(path: Path) -> list[dict[str, Any]]:
    """The records of a run, the newest last; empty where nothing went wrong."""
    found = (json.loads(file.read_text(encoding="utf-8")) for file in (path / "crash").glob("step_*.json"))
    return sorted(found, key=lambda record: record["time"])


def _write(folder: Path, facts: dict[str, Any], state: dict[str, Any] | None) -> None:
    folder.mkdir(exist_ok=True)
    if len(list(folder.glob("step_*.json"))) >= MOST:
        return
    if state is not None:
        CheckpointWriter(folder).write(STATE, state, step=facts["step"])
    name = f"step_{facts['step']:08d}"
    write_atomic(folder / f"{name}.json", json.dumps({"time": time.time(), **facts}, indent=1) + "\n")
