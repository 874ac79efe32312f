"""What is said of identities before training starts: how many there are, and what would make training or scores worthless."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy

from data.dataset import Dataset
from data.identities import DISTRACTOR, JUNK, JoinedIdentities, whole_of
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.data")


def identity_counts(dataset: Dataset) -> dict[str, int]:
    """Identities (distractors are none), cameras, queries, gallery images, junk and distractor images of a split."""
    targets, cameras, queries, gallery = _columns(dataset)
    nobody = [number for number, name in enumerate(dataset.classes) if _is_distractor(name)]
    distractors = numpy.isin(targets, nobody)
    return {
        "identities": len(numpy.unique(targets[(targets != JUNK) & ~distractors])),
        "cameras": len(numpy.unique(cameras[(cameras >= 0) & ~distractors])),
        "queries": int((queries & (targets != JUNK)).sum()),
        "gallery": int((gallery & (targets != JUNK)).sum()),
        "junk": int((targets == JUNK).sum()),
        "distractors": int(distractors.sum()),
    }


def describe_identities(dataset: Dataset, training: bool = False) -> str:
    """The same for people, what there is of it: `2 identities, 3 cameras, 2 queries, 5 gallery, 1 junk, 1 distractors`."""
    counts = identity_counts(dataset)
    shown = ("identities", "cameras") if training else tuple(counts)
    return ", ".join(f"{counts[name]} {name}" for name in shown if counts[name] or name in ("identities", "queries", "gallery"))


def check_identities(train: Dataset, others: Mapping[str, Dataset | None]) -> None:
    """What follows, for the training split and each of the others. (Which queries can be scored, the evaluator says.)

    Raises:
        UserError: see `check_training`.
    """
    check_training(train)
    for split, other in others.items():
        if other is not None:
            check_apart(split, train, other)


def check_training(train: Dataset) -> None:
    """Warns of identities with one image, of which no pair can be made.

    Raises:
        UserError: fewer than two identities.
    """
    targets = _columns(train)[0]
    sizes = numpy.bincount(targets[targets != JUNK], minlength=len(train.classes))
    if len(sizes) < 2:
        whole = whole_of(train)
        aside = f" ({len(whole.classes) - len(sizes)} more are held out or left out)" if whole is not train else ""
        raise UserError(
            f"{train.name}: {len(sizes)} identities for training{aside}, and it takes two to tell them apart; add some, or "
            "hold out fewer for validation and test (DATASETS.LIMIT leaves some out as well, where it is set)"
        )
    single = numpy.flatnonzero(sizes == 1)
    if len(single):
        named = _first([train.classes[number] for number in single[:5]], len(single))
        LOG.warning("%d of %d identities of %s have one image for training: %s", len(single), len(sizes), train.name, named)


def check_apart(split: str, train: Dataset, other: Dataset) -> None:
    """Warns of identities, or of images under whatever name, that are in both: the scores are then of people that were
    trained on."""
    mine = set(_full_names(train))
    both = [name for name in _full_names(other) if name in mine and not _is_distractor(name)]
    if both:
        LOG.warning(
            "%d identities of the %s split are trained on as well, so its scores are not those of new ones: %s",
            len(both), split, _first(both[:5], len(both)),
        )  # fmt: skip
        return
    places = {train.path(index) for index in range(len(train))}
    shared = [path for index in range(len(other)) if (path := other.path(index)) in places]
    if shared:
        LOG.warning(
            "%d images of the %s split are trained on as well, so its scores are not those of new identities: %s",
            len(shared), split, _first(shared[:3], len(shared)),
        )  # fmt: skip


def _columns(dataset: Dataset) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Targets, cameras, and whether an image is a query and a gallery image."""
    facts = [numpy.asarray(dataset.facts[name], dtype=numpy.int64) for name in ("camera", "query", "gallery")]
    return numpy.asarray(dataset.targets, dtype=numpy.int64), facts[0], facts[1] == 1, facts[2] == 1


def _is_distractor(name: str) -> bool:
    return name.rpartition("/")[2] == DISTRACTOR


def _full_names(dataset: Dataset) -> list[str]:
    """Identities with the data set they are of; where several are joined, their names say so already."""
    whole = whole_of(dataset)
    return [name if isinstance(whole, JoinedIdentities) else f"{dataset.name}/{name}" for name in dataset.classes]


def _first(names: Sequence[str], count: int) -> str:
    return ", ".join(names) + f" and {count - len(names)} more" * (count > len(names))
