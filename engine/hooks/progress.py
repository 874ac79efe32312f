"""How far it is: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from engine.hooks.base import Hook

if TYPE_CHECKING:
    from engine.trainer import Trainer

LOG = logging.getLogger("fieldbook.engine")


class ProgressHook(Hook):
    """Shows step, loss, rate and the time that is left.

    Args:
        terminal: draw a bar on stderr; else a line for each row that is logged.
    """

    def __init__(self, terminal: bool | None = None) -> None:
        self.terminal = sys.stderr.isatty() if terminal is None else terminal
        self._bar: Any = None
        self._task: Any = None
        self._began: tuple[int, float] | None = None  # step and time of the first row: what lies before it is slow to start

    def before_train(self, trainer: Trainer) -> None:
        """Draws the bar where there is a terminal."""
        trainer.listeners.append(lambda step, row: self._show(trainer, row))
        if self.terminal:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4)
            self._task = self._bar.add_task("", total=trainer.total_steps, completed=trainer.step)
            self._bar.start()

    def after_train(self, trainer: Trainer) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def _show(self, trainer: Trainer, row: dict[str, float]) -> None:
        if "train/loss" not in row:
            return
        text = f"loss {row['train/loss']:.4f}  lr {row['lr']:.3g}  {row['samples_per_second']:.0f} samples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=trainer.step, description=f"epoch {trainer.epoch + 1}  {text}")
            return
        first, start = self._began or (trainer.step, 0.0)
        self._began = self._began or (trainer.step, time.monotonic())
        if trainer.step > first:
            left = (time.monotonic() - start) / (trainer.step - first) * (trainer.total_steps - trainer.step)
            text += f"  {round(left)} s left"
        LOG.info("step %d/%d  %s", trainer.step, trainer.total_steps, text)
