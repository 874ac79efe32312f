"""Lowers the learning rate when the validation score no longer gets better (torch's ReduceLROnPlateau)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine.hooks.base import Hook
from engine.hooks.evaluation import EvaluationHook

if TYPE_CHECKING:
    from engine.trainer import Trainer

LOG = logging.getLogger("fieldbook.engine")


class PlateauHook(Hook):
    """Multiplies the rate by `gamma` after `patience` validations in a row without a better score.

    It stands after the validation and before the checkpoints, so that what is saved knows of the fall. `rate` takes the
    place of the trainer's schedule: step -> learning rate, a function of the step and of this hook's state.

    Args:
        schedule: step -> learning rate without any fall.
        threshold: by how much a score must be better, in its own unit.
        least: the factor falls no lower.
    """

    state_name = "plateau"

    def __init__(
        self,
        evaluation: EvaluationHook,
        schedule: Callable[[int], float],
        *,
        gamma: float,
        patience: int,
        threshold: float = 0.0,
        least: float = 0.0,
    ) -> None:
        self.evaluation, self.schedule = evaluation, schedule
        self.gamma, self.patience, self.threshold, self.least = gamma, patience, threshold, least
        self.best: float | None = None
        self.waited = 0
        self.factor = 1.0

    def rate(self, step: int) -> float:
        """The learning rate for a step."""
        return self.schedule(step) * self.factor

    def after_epoch(self, trainer: Trainer) -> None:
        """Counts, and lowers the rate of all steps to come."""
        score = self.evaluation.score
        if not self.evaluation.fresh or score is None:
            return
        if math.isfinite(score) and (self.best is None or score > self.best + self.threshold):
            self.best, self.waited = score, 0
            return
        self.waited += 1
        if self.waited < self.patience:
            return
        self.waited, before = 0, self.factor
        self.factor = max(self.factor * self.gamma, min(self.least, before))
        if self.factor < before:
            LOG.info("no better score in %d validations: the rate falls to %g", self.patience, self.rate(trainer.step))

    def state_dict(self) -> dict[str, Any]:
        """Best score, patience and the factor."""
        return {"best": self.best, "waited": self.waited, "factor": self.factor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        self.best, self.waited, self.factor = state["best"], state["waited"], state["factor"]
