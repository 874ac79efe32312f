"""A signal to stop: the step ends, one checkpoint is written, the command ends with code 75. A second one ends at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.agreement import agreed_signal
from engine.hooks.base import Hook
from engine.hooks.checkpoints import CheckpointHook
from utils import interrupts

if TYPE_CHECKING:
    from engine.trainer import Trainer


class SignalHook(Hook):
    """Turns a signal (see utils/interrupts.py) into an orderly stop of all ranks at the same step, with one checkpoint."""

    def __init__(self, checkpoints: CheckpointHook) -> None:
        self.checkpoints = checkpoints

    def before_train(self, trainer: Trainer) -> None:
        """From here on a signal is noted, not raised, and ranks tell each other."""
        interrupts.defer()
        trainer.agreement.ask("stop", lambda: bool(interrupts.received()))

    def after_step(self, trainer: Trainer) -> None:
        """Saves and stops, if a signal came to any rank. At an epoch's end that is left to what comes there."""
        at_end = trainer.step_in_epoch >= trainer.steps_per_epoch or trainer.step >= trainer.total_steps
        if not trainer.stop_reason and not at_end and trainer.agreement.says("stop"):
            trainer.stop_reason = str(interrupts.Interrupted(agreed_signal()))
            self.checkpoints.save_last(trainer)

    def after_epoch(self, trainer: Trainer) -> None:
        """Stops after an epoch's end that no signal cut short: its checkpoint is written already."""
        number = agreed_signal()
        if number and not trainer.stop_reason:
            trainer.stop_reason = str(interrupts.Interrupted(number))

    def after_interrupt(self, trainer: Trainer) -> None:
        """Saves the state from before the epoch's end, which a signal cut short: it is done again on resume."""
        trainer.stop_reason = str(interrupts.Interrupted(agreed_signal()))
        self.checkpoints.save_last(trainer)
