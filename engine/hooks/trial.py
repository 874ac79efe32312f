"""The link of a run to the sweep that it is a trial of: says which run it is and how it scores; may end it early."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from engine.hooks.base import Hook

if TYPE_CHECKING:
    from engine.hooks.evaluation import EvaluationHook
    from engine.trainer import Trainer

PRUNED = "pruning"  # with which the reason of a run that was ended early begins

_link: Connection | None = None  # a process is a trial of one sweep at most


def be_trial(link: Connection | None) -> None:
    """This process is a trial of the sweep at the other end."""
    global _link
    _link = link


def is_trial() -> bool:
    """Whether this process is a trial."""
    return _link is not None


def trial_hooks(run: Any, evaluation: EvaluationHook | None) -> list[Hook]:
    """The hook of a trial; none in any other run."""
    return [TrialHook(run, evaluation, _link)] if _link is not None and evaluation is not None else []


class TrialHook(Hook):
    """Sends ("began", run id) and, after each validation, ("score", epoch, score), greater being better.

    To the latter the sweep answers: "", or why the trial ends here.
    """

    def __init__(self, run: Any, evaluation: EvaluationHook, link: Connection) -> None:
        self.run, self.evaluation, self.link = run, evaluation, link

    def before_train(self, trainer: Trainer) -> None:
        """There is a run now."""
        self.link.send(("began", self.run.id))

    def after_epoch(self, trainer: Trainer) -> None:
        """Asks whether to go on; not after the last epoch, where there is nothing to save."""
        last = trainer.epoch >= trainer.max_epochs or trainer.step >= trainer.total_steps
        if last or trainer.stop_reason or not self.evaluation.fresh:
            return
        self.link.send(("score", trainer.epoch, self.evaluation.score))
        reason = self.link.recv()
        if reason:
            trainer.stop_reason = f"{PRUNED} ({reason})"
