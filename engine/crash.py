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
from engine.sharding import whole as whole_tensors
from utils.files import write_json

if TYPE_CHECKING:
    from engine.trainer import Trainer

LOG = logging.getLogger("fieldbook.engine")
STATE = "state.pt"  # the weights before the newest step that is kept whole, and the generators as it began
MOST = 100  # records of a run; what is skipped for ever must not fill the disk


def record_crash(run: Any, trainer: Trainer, step: Step, *, whole: bool) -> bool:
    """Writes `crash/step_NNNNNNNN.json` and, where `whole`, `crash/state.pt`; whether that was written. All ranks must call it.

    What a device found late has the weights before the step, but averages and statistics of some steps after it. A full disk
    is warned of: what was found matters more than its record.
    """
    state = _state_before(trainer, step) if whole else None
    facts = {
        "time": time.time(),
        "epoch": step.epoch,
        "step": step.step,
        "step_in_epoch": step.step_in_epoch,
        "learning_rate": trainer.schedule(step.step),
        "world_size": distributed.world_size(),
        "device": str(trainer.device),
        "state": whole,
        "gradients": None if trainer.guard.late or not whole else bad_gradients(trainer.task)[:20],  # None: not known
        "samples": distributed.gather(step.indices),  # of each rank, of each micro-batch
    }
    if trainer.is_main:
        try:
            _write(run.path / "crash", facts, state)
        except OSError as error:
            LOG.warning("the step that is not finite could not be recorded in crash/ (%s)", error.strerror or error)
            whole = False
    return bool(distributed.broadcast(whole))


def bad_gradients(task: torch.nn.Module) -> list[str]:
    """Names of the parameters whose gradient has a NaN or an infinity. Waits for the device."""
    grads = [(name, p.grad) for name, p in task.named_parameters() if p.grad is not None]
    return [name for name, grad in grads if not bool(torch.isfinite(whole_tensors(grad)).all())]


def newest_crash(path: Path) -> dict[str, Any] | None:
    """The record of the step that a run's crash/state.pt was kept before; None where there is none."""
    if not (path / "crash" / STATE).is_file():
        return None
    records = (json.loads(file.read_text(encoding="utf-8")) for file in (path / "crash").glob("step_*.json"))
    return max((r for r in records if r["state"]), key=lambda r: r["time"], default=None)


def _state_before(trainer: Trainer, step: Step) -> dict[str, Any]:
    """The trainer's state with the position and torch's generators of when the step began."""
    state = whole_tensors(trainer.state_dict())
    state["progress"] = {"epoch": step.epoch, "step": step.step, "step_in_epoch": step.step_in_epoch}
    for own, (cpu, device) in zip(state["generators"]["ranks"], distributed.gather(step.generators), strict=True):
        own["torch"] = own["torch"] if cpu is None else cpu
        if device is not None:
            own["cuda"][torch.cuda.current_device() if trainer.device.index is None else trainer.device.index] = device
    return state


def _write(folder: Path, facts: dict[str, Any], state: dict[str, Any] | None) -> None:
    folder.mkdir(exist_ok=True)
    for old in sorted(folder.glob("step_*.json"), key=lambda p: p.stat().st_mtime_ns)[: -(MOST - 1)]:
        old.unlink()
    if state is not None:
        CheckpointWriter(folder).write(STATE, state, step=facts["step"])
    write_json(folder / f"step_{facts['step']:08d}.json", facts)
