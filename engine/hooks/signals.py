"""A signal to stop: the step ends, one checkpoint is written, the command ends with code 75. A second one ends at once."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

from engine import distributed
from engine.hooks.base import Hook
from engine.hooks.checkpoints import CheckpointHook

if TYPE_CHECKING:
    from engine.trainer import Trainer

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class SignalHook(Hook):
    """Turns SIGTERM, SIGINT and SIGUSR1 into an orderly stop.

    Attributes:
        received: number of the signal that came, or 0.
    """

    def __init__(self, checkpoints: CheckpointHook) -> None:
        self.checkpoints = checkpoints
        self.received = 0
        self._before: dict[signal.Signals, Any] = {}

    def before_train(self, trainer: Trainer) -> None:
        """Takes the signals over."""
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}

    def after_step(self, trainer: Trainer) -> None:
        """Saves and stops, if a signal came to any rank: they do not come at the same step."""
        if not trainer.stop_reason and distributed.any_rank(bool(self.received)):
            trainer.stop_reason = self._reason()
            self.checkpoints.save_last(trainer)

    def after_epoch(self, trainer: Trainer) -> None:
        """The same, for a signal that came while validating; the epoch's checkpoint is written already."""
        if distributed.any_rank(bool(self.received)):
            trainer.stop_reason = self._reason()

    def after_train(self, trainer: Trainer) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _reason(self) -> str:
        return f"signal {signal.Signals(self.received).name}" if self.received else "signal on another rank"

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            os._exit(128 + number)
        self.received = number
