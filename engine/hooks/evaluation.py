"""Validation between epochs, of the averaged weights where there are some."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from engine import distributed
from engine.hooks.base import Hook

if TYPE_CHECKING:
    from engine.trainer import Trainer

LOG = logging.getLogger("fieldbook.engine")


class EvaluationHook(Hook):
    """Calls `evaluate` every `period` epochs and after the last, and hands its scores on.

    Args:
        evaluate: () -> scores by bare name.
        run: where they are recorded, as `val/<name>`.
        primary: bare name of the score that selects.
        lower_is_better: bare names of which less is better.

    Attributes:
        score: the primary score of the newest validation, so that greater is better; None before the first.
        fresh: whether there was a validation at the end of this very epoch.
    """

    def __init__(
        self,
        evaluate: Callable[[], dict[str, float]],
        run: Any,
        *,
        period: int,
        primary: str,
        lower_is_better: frozenset[str],
    ) -> None:
        self.evaluate, self.run, self.period = evaluate, run, period
        self.primary, self.lower_is_better = primary, lower_is_better
        self.score: float | None = None
        self.fresh = False

    def after_epoch(self, trainer: Trainer) -> None:
        """Evaluates where it is time."""
        last = trainer.epoch >= trainer.max_epochs or trainer.step >= trainer.total_steps
        self.fresh = last or trainer.epoch % self.period == 0
        if not self.fresh:
            return
        with trainer.ema.swap() if trainer.ema is not None else nullcontext():
            distributed.share_buffers(trainer.task.model)
            scores = self.evaluate()
        self.lower_is_better |= {name for name in scores if name.startswith("loss")}  # parts of a loss, too
        value = scores[self.primary]
        self.score = -value if self.primary in self.lower_is_better else value
        named = {f"val/{name}": score for name, score in scores.items()}
        self.run.log(trainer.step, trainer.epoch, named)
        self.run.update(
            metrics=named,
            step=trainer.step,
            primary_metric=f"val/{self.primary}",
            lower_is_better=self.lower_is_better,
        )
        trainer.announce(trainer.step, named)
        shown = "  ".join(f"{name} {score:.4f}" for name, score in named.items())
        epoch = trainer.epoch + (trainer.step_in_epoch > 0)
        LOG.info("epoch %d/%d  step %d  %s", epoch, trainer.max_epochs, trainer.step, shown)
