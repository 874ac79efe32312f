"""Optimizer, parameter groups, learning-rate schedule, moving average of weights. `cfg` is read in build.py only."""

from solver.build import describe_lr, effective_lr, make_lr_scheduler, make_optimizer
from solver.ema import ModelEMA
from solver.optimizer import set_lr

__all__ = ["ModelEMA", "describe_lr", "effective_lr", "make_lr_scheduler", "make_optimizer", "set_lr"]
