"""Ends a run whose validation score no longer gets better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from engine.hooks.base import Hook
from engine.hooks.evaluation import EvaluationHook

if TYPE_CHECKING:
    from engine.trainer import Trainer


class EarlyStopHook(Hook):
    """Stops after `patience` validations in a row without a better score."""

    state_name = "early_stop"

    def __init__(self, evaluation: EvaluationHook, patience: int) -> None:
        self.evaluation, self.patience = evaluation, patience
        self.best: float | None = None
        self.waited = 0

    def before_train(self, trainer: Trainer) -> None:
        """A run that was stopped here, and killed in its last test, has nothing left to train."""
        self._stop_if_waited(trainer)

    def after_epoch(self, trainer: Trainer) -> None:
        """Counts, and stops the trainer."""
        score = self.evaluation.score
        if not self.evaluation.fresh or score is None:
            return
        if math.isfinite(score) and (self.best is None or score > self.best):
            self.best, self.waited = score, 0
        else:
            self.waited += 1
        self._stop_if_waited(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Best score and patience."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        self.best, self.waited = state["best"], state["waited"]

    def _stop_if_waited(self, trainer: Trainer) -> None:
        if self.waited >= self.patience:
            trainer.stop_reason = f"no better score in {self.waited} validations (SOLVER.EARLY_STOP)"
