"""Optimizer, parameter groups, learning-rate schedule, averages of weights. `cfg` is read in build.py only."""

from solver.average import ModelEMA, ModelSWA, WeightAverage
from solver.build import describe_lr, effective_lr, make_average, make_lr_scheduler, make_optimizer
from solver.named import NamedOptimizer
from solver.optimizer import set_lr

__all__ = [
    "ModelEMA",
    "ModelSWA",
    "NamedOptimizer",
    "WeightAverage",
    "describe_lr",
    "effective_lr",
    "make_average",
    "make_lr_scheduler",
    "make_optimizer",
    "set_lr",
]
