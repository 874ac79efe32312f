"""Schedules that fall all along. Each is a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

from solver.schedules import SCHEDULES
from solver.schedules.lr_scheduler import Schedule
from utils.errors import UserError


@SCHEDULES.register("polynomial")
def polynomial(total_steps: int, power: float) -> Schedule:
    """(1 - step / total_steps) ** power: from 1 down to 0; power 1 is a straight line."""
    return lambda step: max(0.0, 1 - step / total_steps) ** power


@SCHEDULES.register("exponential")
def exponential(total_steps: int, gamma: float) -> Schedule:
    """gamma ** (step / total_steps): from 1 down to `gamma`, by the same factor at every step."""
    return lambda step: gamma ** (step / total_steps)


@SCHEDULES.register("plateau")
def plateau(gamma: float) -> Schedule:
    """1 at every step: the falls come from `engine.hooks.plateau`, which listens to the validation score.

    Raises:
        UserError: `gamma` would not lower the rate.
    """
    if gamma >= 1:
        raise UserError(f"SOLVER.GAMMA {gamma:g} does not lower the rate; SOLVER.SCHEDULE plateau needs less than 1")
    return lambda step: 1.0
