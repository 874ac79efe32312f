"""Orders of the samples of an epoch: pure functions of (targets, seed, epoch)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from data.randomness import ORDER, generator
from utils.errors import UserError
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
    """As many draws as samples, with replacement, each class equally likely.

    Raises:
        UserError: a target is not the number of a class.
    """
    if not all(isinstance(target, int | numpy.integer) for target in targets):
        raise UserError(
            "DATALOADER.SAMPLER balanced needs one class a sample, and these targets are no class numbers; take shuffle"
        )
    _, classes, sizes = numpy.unique(numpy.asarray(targets), return_inverse=True, return_counts=True)
    weights = 1.0 / sizes[classes]
    return generator(seed, ORDER, epoch).choice(len(targets), size=len(targets), p=weights / weights.sum())


def repeated(order: Callable[[int], numpy.ndarray], repeats: int) -> Callable[[int], numpy.ndarray]:
    """Each sample `repeats` times in a row, in an epoch of the old length (Hoffer et al., Augment your batch, CVPR 2020;
    Berman et al., MultiGrain, 2019). The copies have positions of their own and so are augmented differently.

    An epoch takes a part of an order of `order`, the next epoch the next part: after `repeats` epochs every sample was
    seen, whatever the sampler. A window whose size is a multiple of `repeats` holds all copies of its samples.
    """

    def take(epoch: int) -> numpy.ndarray:
        whole = order(epoch // repeats)
        count = -(-len(whole) // repeats)
        chosen = (epoch % repeats * count + numpy.arange(count)) % len(whole)
        return numpy.repeat(whole[chosen], repeats)[: len(whole)]

    return order if repeats == 1 else take
