"""What a hook is. The order of events stands in `engine.trainer.Trainer`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.numbers import Step
    from engine.trainer import Trainer


class Hook:
    """Something that happens beside the loop. Override what is needed; what is not overridden costs nothing a step.

    A hook with state (a best score, a patience) sets `state_name` and gives `state_dict`/`load_state_dict`, so that it
    comes back on resume.
    """

    state_name = ""

    def before_train(self, trainer: Trainer) -> None:
        """Before the first epoch, after a checkpoint was restored."""

    def before_epoch(self, trainer: Trainer) -> None:
        """Before the first batch of an epoch, or of what is left of it."""

    def after_step(self, trainer: Trainer) -> None:
        """After the optimizer has stepped; `trainer.step` counts it already."""

    def after_epoch(self, trainer: Trainer) -> None:
        """After an epoch's last step; `trainer.epoch` counts it already."""

    def after_interrupt(self, trainer: Trainer) -> None:
        """After a signal broke off an epoch's end: the trainer stands after the epoch's last step again, and what happened
        in `after_epoch` so far happens once more on resume."""

    def on_nonfinite(self, trainer: Trainer, step: Step, spoilt: bool) -> bool:
        """A step's loss or gradient is NaN or infinite; whether that is dealt with, else the run ends.

        The weights are those before the step, which does not happen; but with `spoilt` they have moved since.
        """
        return False

    def after_rollback(self, trainer: Trainer) -> None:
        """After the state of an earlier checkpoint was loaded under way."""

    def after_train(self, trainer: Trainer) -> None:
        """At the end, whatever ended it."""

    def overrides(self, event: str) -> bool:
        """Whether this hook does something at `event`."""
        return getattr(type(self), event) is not getattr(Hook, event)

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
