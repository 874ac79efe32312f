"""Numbers of the training itself, every LOG_PERIOD steps: metrics.jsonl, TensorBoard, a line or a bar."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from engine import distributed
from engine.hooks.base import Hook
from engine.memory import peak_memory_mb

if TYPE_CHECKING:
    from engine.trainer import Trainer

LOG = logging.getLogger("fieldbook.engine")


class LoggingHook(Hook):
    """Reads the device-side means, the only time that training waits for the device.

    Args:
        run: where rows go.
        period: optimizer steps between rows; an epoch's last step logs as well.
    """

    def __init__(self, run: Any, *, period: int) -> None:
        self.run, self.period = run, period
        self._step = 0
        self._time = 0.0

    def before_epoch(self, trainer: Trainer) -> None:
        """Starts the clocks: what validation and checkpoints took is not the steps' time."""
        self._restart(trainer)
        trainer.measure_gradient = self._is_due(trainer, trainer.step + 1)

    def after_step(self, trainer: Trainer) -> None:
        """A row, where it is time."""
        if not self._is_due(trainer, trainer.step):
            trainer.measure_gradient = self._is_due(trainer, trainer.step + 1)
            return
        row = {f"train/{name}": value for name, value in trainer.read_losses().items()}
        trainer.meter.reset()
        row["lr"] = trainer.schedule(trainer.step - 1)  # groups may have factors of their own
        if trainer.gradient_norm is not None:
            row["grad_norm"] = float(trainer.gradient_norm)
        row |= self._speed(trainer)
        self.run.log(trainer.step, trainer.epoch, row)
        trainer.announce(trainer.step, row)
        LOG.debug("step %d %s", trainer.step, row)
        self._restart(trainer)
        trainer.measure_gradient = self._is_due(trainer, trainer.step + 1)

    def _is_due(self, trainer: Trainer, step: int) -> bool:
        return step % self.period == 0 or step == trainer.total_steps

    def _speed(self, trainer: Trainer) -> dict[str, float]:
        seconds, steps = time.perf_counter() - self._time, max(trainer.step - self._step, 1)
        return {
            "time/step": seconds / steps,
            "time/data": trainer.data_seconds / steps,
            "samples_per_second": trainer.samples * distributed.world_size() / seconds,
            "memory_mb": peak_memory_mb(trainer.device),
        }

    def _restart(self, trainer: Trainer) -> None:
        self._step, self._time = trainer.step, time.perf_counter()
        trainer.samples, trainer.data_seconds = 0, 0.0
