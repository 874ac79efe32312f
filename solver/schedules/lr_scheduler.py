"""The usual schedules. Each is a pure function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from solver.schedules import SCHEDULES

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
