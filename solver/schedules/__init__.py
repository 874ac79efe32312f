"""Schedules by name: a file in this folder that registers `factory(...) -> Callable[[int], float]` is all it takes.

A schedule gives the factor of BASE_LR that is used *for* a step (0-based), and is a pure function of it. A factory may
ask, by naming them, for `total_steps`, `warmup_steps`, `warmup_factor`, `milestones`, `gamma` and `power`; warm-up is put in
front by `solver.build`, unless the factory asks for `warmup_steps` itself.
"""

from utils.registry import Registry

SCHEDULES = Registry("schedule", "solver.schedules")

__all__ = ["SCHEDULES"]
