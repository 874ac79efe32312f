"""What happens to a step whose loss or gradient is NaN or infinite: SOLVER.NONFINITE."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engine import distributed
from engine.crash import record_crash
from engine.hooks.base import Hook
from engine.hooks.checkpoints import CheckpointHook
from engine.numbers import GoBack, NonFinite, Step

if TYPE_CHECKING:
    from engine.trainer import Trainer

LOG = logging.getLogger("fieldbook.engine")


class NonFiniteHook(Hook):
    """Keeps a record of the step in `crash/`, then ends the run, leaves the step out, or goes back to a checkpoint.

    Args:
        schedule: step -> learning rate before any rollback; `rate` takes its place.
        policy: stop, skip or rollback.
        limit: steps in a row that are skipped, or rollbacks of a run; one more ends it.
        factor: of the rate, for each rollback.
    """

    state_name = "nonfinite"

    def __init__(
        self,
        run: Any,
        checkpoints: CheckpointHook,
        schedule: Callable[[int], float],
        *,
        policy: str,
        limit: int,
        factor: float,
    ) -> None:
        self.run, self.checkpoints, self.schedule = run, checkpoints, schedule
        self.policy, self.limit, self.factor = policy, limit, factor
        self.skipped = self.in_a_row = self.rollbacks = 0
        self.newest = -1

    def rate(self, step: int) -> float:
        """The learning rate for a step."""
        return self.schedule(step) * self.factor**self.rollbacks

    def before_train(self, trainer: Trainer) -> None:
        """There must be something to go back to."""
        if self.policy == "rollback" and trainer.step == 0:
            self.checkpoints.save_last(trainer)

    def on_nonfinite(self, trainer: Trainer, step: Step, spoilt: bool) -> bool:
        """Records the step; skips it or goes back, within the limit.

        Raises:
            NonFinite: the policy, or its limit, ends the run.
            GoBack: to the newest good checkpoint.
        """
        skips = self.policy == "skip" and not spoilt and self._skips(step)
        recorded = record_crash(self.run, trainer, step, whole=not spoilt and (not skips or self.skipped == 1))
        if skips:
            return True
        if self.policy == "rollback" and self.rollbacks < self.limit:
            self._go_back(step)
        at, kept = ("at or some steps before", "checkpoints") if spoilt else ("at", "weights")
        limit = "" if self.policy == "stop" or spoilt else f", after {self.limit} times SOLVER.NONFINITE {self.policy}"
        replay = f" python tools/replay.py {self.run.path} makes the step again;" if recorded else ""
        other = ", or take SOLVER.NONFINITE skip or rollback" if self.policy == "stop" else ""
        raise NonFinite(
            f"the loss or a gradient is not finite {at} step {step.step} (epoch {step.epoch}, learning rate "
            f"{trainer.schedule(step.step):g}{limit}); the {kept} before it are kept.{replay} lower SOLVER.BASE_LR, set "
            f"SOLVER.CLIP_NORM{other}"
        )

    def state_dict(self) -> dict[str, Any]:
        """What was skipped, and how often the run went back."""
        names = ("skipped", "in_a_row", "newest", "rollbacks")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        for name, value in state.items():
            setattr(self, name, value)

    def _skips(self, step: Step) -> bool:
        self.in_a_row = self.in_a_row + 1 if step.step == self.newest + 1 else 1
        self.newest = step.step
        if self.in_a_row > self.limit:
            return False
        self.skipped += 1
        LOG.warning("step %d is left out: its loss or a gradient is not finite (%d so far)", step.step, self.skipped)
        return True

    def _go_back(self, step: Step) -> None:
        state = self.checkpoints.newest_good()
        if state is None:
            return
        state["nonfinite"] = {**state["nonfinite"], "rollbacks": self.rollbacks + 1}
        distributed.on_main(lambda: self.run.cut(state["progress"]["step"]))
        LOG.warning(
            "step %d: the loss or a gradient is not finite; back to step %d, at %g times the rate (rollback %d of %d)",
            step.step, state["progress"]["step"], self.factor ** (self.rollbacks + 1), self.rollbacks + 1, self.limit,
        )  # fmt: skip
        raise GoBack(state)
