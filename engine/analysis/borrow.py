"""A trainer borrowed for a test: steps without a run, and afterwards everything is as it was."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from engine.numbers import NonFinite
from engine.task import Batch
from engine.trainer import Trainer


@contextmanager
def borrowed(trainer: Trainer) -> Iterator[None]:
    """Within, the trainer may take steps; afterwards its schedule and all that is registered with it are put back."""
    kept, schedule = snapshot(trainer.state_dict()), trainer.schedule
    trainer.task.train()
    try:
        yield
    finally:
        trainer.schedule = schedule
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.load_state_dict(kept)


def windows(trainer: Trainer, first: int = 0) -> Iterator[list[Batch]]:
    """The batches of step `first` of the first epoch on this rank, then of each further one, epoch after epoch."""
    epoch = 0
    while True:
        yield from trainer.windows(epoch, first)
        epoch, first = epoch + 1, 0


def step_losses(trainer: Trainer, window: list[Batch], rate: float | None = None) -> dict[str, float]:
    """Takes a step, at `rate` or at the schedule's; its named losses over all ranks, {"loss": nan} where it was refused
    because they are not finite."""
    if rate is not None:
        trainer.schedule = lambda step: rate
    trainer.meter.reset()
    try:
        trainer.train_step(window)
        return trainer.read_losses()
    except NonFinite:
        return {"loss": math.nan}


def snapshot(state: Any) -> Any:
    """A copy that shares nothing, its tensors on the CPU, where they do not count as the run's own memory."""
    if isinstance(state, Tensor):
        return state.detach().cpu().clone()
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(snapshot(value) for value in state)
    return copy.deepcopy(state)
