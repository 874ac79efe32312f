"""Orders of the samples of an epoch: pure functions of (targets, seed, epoch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from data.randomness import ORDER, generator
from utils.registry import Registry

SAMPLERS = Registry("sampler", "data")


@SAMPLERS.register("sequential")
def sequential(targets: Sequence[Any], seed: int, epoch: int) -> numpy.ndarray:
    """As they lie in the data set."""
    return numpy.arange(len(targets))


@SAMPLERS.register("shuffle")
def shuffle(targets: Sequence[Any], seed: int, epoch: int) -> numpy.ndarray:
    """Every sample once, in a new order each epoch."""
    return generator(seed, ORDER, epoch).permutation(len(targets))


@SAMPLERS.register("balanced")
def balanced(targets: Sequence[Any], seed: int, epoch: int) -> numpy.ndarray:
    """As many draws as samples, with replacement, each class equally likely."""
    _, classes, sizes = numpy.unique(numpy.asarray(targets), return_inverse=True, return_counts=True)
    weights = 1.0 / sizes[classes]
    return generator(seed, ORDER, epoch).choice(len(targets), size=len(targets), p=weights / weights.sum())
