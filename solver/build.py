"""The solver factories: the only place of this room that reads `cfg`."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import nn

from config import Config
from solver.average import ModelEMA, ModelSWA
from solver.lr_scaling import arithmetic, scale_factor
from solver.optimizer import build_optimizer
from solver.param_groups import fine_tuning_factors, make_groups
from solver.schedules import SCHEDULES
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.solver")


def effective_lr(cfg: Config) -> float:
    """The peak rate: SOLVER.BASE_LR, scaled with the batch where SOLVER.LR_SCALING says so. The config stays as it is.

    Raises:
        UserError: SOLVER.LR_SCALING without SOLVER.LR_SCALING_BATCH.
    """
    solver = cfg.SOLVER
    return solver.BASE_LR * scale_factor(solver.LR_SCALING, solver.IMS_PER_BATCH, solver.LR_SCALING_BATCH)


def describe_lr(cfg: Config) -> str:
    """How the peak rate comes about, for the run card: `0.1 x 256/64 = 0.4 (linear in the batch)`."""
    solver = cfg.SOLVER
    return arithmetic(solver.LR_SCALING, solver.BASE_LR, solver.IMS_PER_BATCH, solver.LR_SCALING_BATCH)


def make_optimizer(
    cfg: Config,
    root: nn.Module,
    *,
    depths: Mapping[str, int] | None = None,
    filled: Collection[str] = (),
    apart: Collection[str] = (),
) -> torch.optim.Optimizer:
    """The optimizer of all trainable parameters below `root` (a task, so that those of a loss are among them).

    Args:
        depths: name -> depth of those parameters that layer-wise decay and NEW_LR_FACTOR are for (the model's).
        filled: names of those that MODEL.WEIGHTS filled.
        apart: names of those that begin to train later.

    Raises:
        UserError: name, arguments or parameter groups that do not fit.
    """
    solver = cfg.SOLVER
    factors = fine_tuning_factors(
        depths or {}, filled, layer_decay=solver.LAYER_DECAY, new_factor=solver.NEW_LR_FACTOR if depths else 1.0
    )
    groups = make_groups(
        root,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        patterns=solver.PARAM_GROUPS,
        rate_factors=factors,
        apart=apart,
    )
    return build_optimizer(
        solver.OPTIMIZER_NAME, groups, lr=effective_lr(cfg), momentum=solver.MOMENTUM, arguments=solver.OPTIMIZER_ARGS
    )


def make_average(cfg: Config, model: nn.Module) -> ModelEMA | ModelSWA | None:
    """The average of weights that is evaluated and kept as best, instead of the weights themselves; None without one.

    Raises:
        UserError: two of them are asked for.
    """
    decay, epochs = cfg.SOLVER.EMA_DECAY, cfg.SOLVER.SWA_EPOCHS
    if decay and epochs:
        raise UserError("SOLVER.EMA_DECAY and SOLVER.SWA_EPOCHS are two averages of the weights; set one of them to 0")
    return ModelSWA(model) if epochs else ModelEMA(model, decay) if decay else None


def make_lr_scheduler(cfg: Config, *, total_steps: int) -> Callable[[int], float]:
    """Step (0-based) -> learning rate, a pure function.

    Raises:
        UserError: an unknown schedule, or a warm-up longer than the run.
    """
    solver = cfg.SOLVER
    warmup = solver.WARMUP_ITERS
    if warmup >= max(total_steps, 1) > 0 and warmup > 0:
        raise UserError(
            f"SOLVER.WARMUP_ITERS {warmup} is not shorter than the run of {total_steps} steps; lower it, or raise "
            "SOLVER.MAX_EPOCHS"
        )
    factory = SCHEDULES.get(solver.SCHEDULE)
    if solver.SCHEDULE == "multi_step" and not any(step < total_steps for step in solver.STEPS):
        LOG.warning(
            "SOLVER.STEPS %s: none lies within the run of %d steps, so the rate never falls", list(solver.STEPS), total_steps
        )
    facts: dict[str, Callable[[], Any]] = {  # read only by those who use them: what was set for nothing is reported
        "total_steps": lambda: max(total_steps, 1),
        "warmup_steps": lambda: warmup,
        "warmup_factor": lambda: solver.WARMUP_FACTOR,
        "milestones": lambda: solver.STEPS,
        "gamma": lambda: solver.GAMMA,
        "power": lambda: solver.POWER,
    }
    names = inspect.signature(factory).parameters
    schedule = factory(**{name: read() for name, read in facts.items() if name in names})
    base = effective_lr(cfg)
    if not warmup or "warmup_steps" in names:
        return lambda step: base * schedule(step)
    linear, start = solver.WARMUP_METHOD == "linear", solver.WARMUP_FACTOR

    def with_warmup(step: int) -> float:
        if step >= warmup:
            return base * schedule(step)
        share = start + (1 - start) * step / warmup if linear else start
        return base * share * schedule(step)

    return with_warmup
