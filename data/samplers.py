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


def shuffle_pieces(pieces: numpy.ndarray, window: int, seed: int, epoch: int) -> numpy.ndarray:
    """Every sample once, in a new order each epoch, in which about `window` pieces (shards) are in use at a time.

    The pieces are laid out in random order, each as long as the others, and each sample is moved by up to window / 2 lengths
    to either side; at both ends it is turned back. So a piece is read within one stretch of the epoch, pieces begin one after
    another, and any order of samples within the stretch is as likely as any other.

    Args:
        pieces: N numbers of pieces, one a sample.
        window: 0, or no fewer than there are pieces: they are all mixed, as by `shuffle`.
    """
    rng, count = generator(seed, ORDER, epoch), int(pieces.max(initial=-1)) + 1
    if not window or window >= count:
        return rng.permutation(len(pieces))
    places = rng.permutation(count)[pieces] + 0.5
    places += window * (rng.random(len(pieces)) - 0.5)
    numpy.abs(places, out=places)
    return numpy.argsort(count - numpy.abs(count - places), kind="stable")


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
    2017). An epoch has as many batches as fit the number of samples, and every image is as likely to be in it as any other:
    identities come in proportion to their images, at most once a batch.

    Raises:
        UserError: fewer identities than a batch has, or none with two images.
    """
    labels = numpy.asarray(targets)
    sizes = numpy.unique(labels[labels >= 0], return_counts=True)[1]
    wanted = batch // instances
    if len(sizes) < wanted:
        raise UserError(
            f"DATALOADER.SAMPLER identities: a batch of {batch} takes {wanted} identities with {instances} images each, and "
            f"there are {len(sizes)} for training; lower SOLVER.IMS_PER_BATCH or raise DATALOADER.INSTANCES"
        )
    if sizes.max() < 2:
        raise UserError("DATALOADER.SAMPLER identities: no identity has two images, so that there are no pairs to learn from")
    batches = max(int(sizes.sum()) // batch, 1)
    return _groups(labels, _capped(sizes, wanted, batches), batches, wanted, instances, generator(seed, ORDER, epoch))


@SAMPLERS.register("cameras")
def cameras(
    targets: Sequence[Any], seed: int, epoch: int, *, facts: Mapping[str, Sequence[int]], batch: int, instances: int
) -> numpy.ndarray:
    """Batches of batch / instances groups of `instances` images, each group of one camera, every camera as often as any
    other (domains that are mixed equally: Zhou et al., Domain generalization with MixStyle, ICLR 2021). Where a batch has
    fewer groups than there are cameras, no camera is in it twice.

    Raises:
        UserError: fewer than two cameras, or an image of no known camera.
    """
    of_cameras = numpy.asarray(facts["camera"])
    if (of_cameras < 0).any():
        raise UserError(
            f"DATALOADER.SAMPLER cameras: the camera of {int((of_cameras < 0).sum())} of {len(of_cameras)} images is not known"
        )
    return _equally("cameras", of_cameras, seed, epoch, batch, instances)


@SAMPLERS.register("sources")
def sources(
    targets: Sequence[Any], seed: int, epoch: int, *, facts: Mapping[str, Sequence[int]], batch: int, instances: int
) -> numpy.ndarray:
    """The same for the data sets of DATASETS.TRAIN: every one as often as any other, however large it is.

    Raises:
        UserError: fewer than two data sets.
    """
    return _equally("sources", numpy.asarray(facts["source"]), seed, epoch, batch, instances)


def _equally(name: str, labels: numpy.ndarray, seed: int, epoch: int, batch: int, instances: int) -> numpy.ndarray:
    count = len(numpy.unique(labels))
    if count < 2:
        raise UserError(f"DATALOADER.SAMPLER {name}: there is {count} of them, and it takes two to mix; take shuffle")
    wanted, batches = batch // instances, max(len(labels) // batch, 1)
    shares = numpy.full(count, batches * wanted)
    return _groups(labels, (shares, count), batches, wanted, instances, generator(seed, ORDER, epoch))


Shares = tuple[numpy.ndarray, int]  # of each label, its groups in an epoch as a fraction: numerators and the denominator


def _capped(sizes: numpy.ndarray, wanted: int, batches: int) -> Shares:
    """Groups of each identity in proportion to its images, but no more than one a batch; their sum is batches * wanted."""
    most = numpy.zeros(len(sizes), dtype=bool)
    while True:
        groups, images = batches * (wanted - int(most.sum())), max(int(sizes[~most].sum()), 1)
        over = ~most & (sizes * groups > batches * images)
        if not over.any():
            return numpy.where(most, batches * images, sizes * groups), images
        most |= over


def _groups(
    labels: numpy.ndarray, shares: Shares, batches: int, wanted: int, instances: int, rng: numpy.random.Generator
) -> numpy.ndarray:
    """Indices of batches x wanted groups x instances images of one label (labels below 0 are left out).

    The labels, in random order, are laid end to end, each as long as its share; a comb with a random offset gives each its
    share of the groups, rounded up or down with the right chance. Dealing the groups out to the batches in turn puts those
    of one label into as many batches as there are. The images of a label come in a random order, and again when all were
    there.
    """
    shuffled = rng.permutation(numpy.flatnonzero(labels >= 0))
    images = shuffled[numpy.argsort(labels[shuffled], kind="stable")]
    sizes = numpy.unique(labels[images], return_counts=True)[1]
    order = rng.permutation(len(sizes))
    marks = (numpy.cumsum(shares[0][order]) + rng.integers(shares[1])) // shares[1]
    counts = numpy.diff(marks, prepend=0)
    label = numpy.repeat(order, counts)
    number = numpy.arange(len(label)) - numpy.repeat(marks - counts, counts)  # of the group among those of its label
    inner = (number[:, None] * instances + numpy.arange(instances)) % sizes[label][:, None]
    found = images[(numpy.cumsum(sizes) - sizes)[label][:, None] + inner]
    return found.reshape(wanted, batches, instances)[:, rng.permutation(batches)].transpose(1, 0, 2).reshape(-1)


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
