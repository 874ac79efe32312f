"""The schedules. Each is a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from solver.schedules import SCHEDULES
from utils.errors import UserError

Schedule = Callable[[int], float]


@SCHEDULES.register("constant")
def constant() -> Schedule:
    """1 at every step."""
    return lambda step: 1.0


@SCHEDULES.register("multi_step")
def multi_step(milestones: Sequence[int], gamma: float) -> Schedule:
    """gamma ** (number of milestones reached); at step == milestone it is reached."""
    return lambda step: gamma ** bisect_right(milestones, step)


@SCHEDULES.register("cosine")
def cosine(total_steps: int) -> Schedule:
    """Half a cosine from 1 at step 0 towards 0 at `total_steps` (Loshchilov and Hutter, SGDR, 2017)."""
    return lambda step: 0.5 * (1 + math.cos(math.pi * min(step / total_steps, 1.0)))


@SCHEDULES.register("one_cycle")
def one_cycle(total_steps: int, warmup_steps: int, warmup_factor: float) -> Schedule:
    """Linear from `warmup_factor` up to 1, then linear down to 0 (after Smith, Super-convergence, 2018).

    Without `warmup_steps` the rise takes 30 % of the steps.
    """
    rise = warmup_steps or max(round(0.3 * total_steps), 1)

    def factor(step: int) -> float:
        if step < rise:
            return warmup_factor + (1 - warmup_factor) * step / rise
        return max(0.0, (total_steps - step) / max(total_steps - rise, 1))

    return factor


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
