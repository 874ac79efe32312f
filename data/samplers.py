"""Orders of the samples of an epoch: pure functions of (targets, seed, epoch)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


@SAMPLERS.register("identities")
def identities(
    targets: Sequence[Any], seed: int, epoch: int, *, facts: Mapping[str, Sequence[int]], batch: int, instances: int
) -> numpy.ndarray:
    """Batches of batch / instances identities with `instances` images each (Hermans et al., In defense of the triplet loss,
    2017). An epoch has as many batches as fit the number of samples; identities come in turn, each once before any comes
    again, and so do the images of each; one with fewer images than `instances` gives some of them twice.

    Raises:
        UserError: fewer identities than a batch has, or all but one image of each would be itself.
    """
    rng = generator(seed, ORDER, epoch)
    labels = numpy.asarray(targets)
    names, sizes = numpy.unique(labels[labels >= 0], return_counts=True)
    wanted = batch // instances
    if len(names) < wanted:
        raise UserError(
            f"DATALOADER.SAMPLER identities: a batch of {batch} takes {wanted} identities with {instances} images each, and "
            f"there are {len(names)}; lower SOLVER.IMS_PER_BATCH or raise DATALOADER.INSTANCES"
        )
    if sizes.max() < 2:
        raise UserError("DATALOADER.SAMPLER identities: no identity has two images, so that there are no pairs to learn from")
    order = numpy.argsort(labels, kind="stable")[len(labels) - sizes.sum() :]
    images = dict(zip(names.tolist(), numpy.split(order, numpy.cumsum(sizes)[:-1]), strict=True))
    left: dict[int, list[int]] = {name: [] for name in images}
    waiting: list[int] = []
    found: list[int] = []
    for _ in range(max(len(labels) // batch, 1)):
        if len(waiting) < wanted:
            again = [name for name in rng.permutation(names).tolist() if name not in waiting]
            waiting += again
        chosen, waiting = waiting[:wanted], waiting[wanted:]
        for name in chosen:
            while len(left[name]) < instances:
                left[name] += rng.permutation(images[name]).tolist()
            found += left[name][:instances]
            del left[name][:instances]
    return numpy.asarray(found)


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
