"""Retrieval: images of identities, each seen by a camera. The identities of one split are not those of another."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from data.dataset import ArrayDataset, Dataset, Joined, Part, Sample
from data.datasets.image_folder import ImageFiles
from data.randomness import ORDER, generator
from utils.errors import UserError

JUNK = -1  # the target of an image of nobody: it is left out of every ranking
DISTRACTOR = "distractor"  # the identity of gallery images that no query is of


class View(NamedTuple):
    """One image of an identity.

    Attributes:
        path: the file.
        identity: its name; "" is junk, DISTRACTOR is nobody who is searched.
        camera: a number; -1 where it is not known.
        query, gallery: whether it is searched with, and searched among. Both: leave-one-out.
    """

    path: str
    identity: str
    camera: int
    query: bool = True
    gallery: bool = True


def numbered(views: Sequence[View]) -> tuple[list[str], list[int], dict[str, list[int]]]:
    """Sorted names of identities, targets (an identity's number, or JUNK) and facts."""
    classes = sorted({view.identity for view in views} - {""})
    numbers = {"": JUNK, **{identity: number for number, identity in enumerate(classes)}}
    facts = {
        "camera": [view.camera for view in views],
        "source": [0] * len(views),
        "query": [int(view.query) for view in views],
        "gallery": [int(view.gallery) for view in views],
    }
    return classes, [numbers[view.identity] for view in views], facts


class IdentityImages(ImageFiles):
    """Image files with an identity and a camera each.

    The sample has beside its target (the identity's number, or JUNK) "camera", "source" (the number of the data set it is
    from, where several are joined), "query" and "gallery" (0 or 1).

    Args:
        views: one an image.
    """

    open_set = True

    def __init__(self, name: str, views: Sequence[View]) -> None:
        classes, targets, facts = numbered(views)
        super().__init__(name, [view.path for view in views], targets, classes)
        self.facts, self.sources = facts, [name]

    def digest(self) -> str:
        """As for image files, and of the cameras and roles."""
        return hashlib.sha256(f"{super().digest()}{sorted(self.facts.items())}".encode()).hexdigest()[:16]


class IdentityArrays(ArrayDataset):
    """The same for images that lie in memory.

    Args:
        images: N x C x H x W uint8.
        views: one an image; the paths are for messages.
    """

    open_set = True

    def __init__(
        self, name: str, images: Tensor, views: Sequence[View], mean: Sequence[float] = (), std: Sequence[float] = ()
    ) -> None:
        classes, targets, facts = numbered(views)
        super().__init__(name, images, torch.tensor(targets, dtype=torch.int64), classes, mean, std)
        self.facts, self.sources, self._paths = facts, [name], [view.path for view in views]

    def __getitem__(self, index: int) -> Sample:
        return {**super().__getitem__(index), **{name: values[index] for name, values in self.facts.items()}}

    def path(self, index: int) -> str:
        """The file that the image was read from."""
        return self._paths[index]

    def digest(self) -> str:
        """Of the pixels, targets, cameras and roles."""
        return hashlib.sha256(f"{super().digest()}{sorted(self.facts.items())}".encode()).hexdigest()[:16]


class JoinedIdentities(Joined):
    """Several data sets end to end: an identity of one is none of another, and neither is a camera.

    Raises:
        UserError: an image is in two of them, and would be told apart from itself.
    """

    def __init__(self, parts: Sequence[Dataset]) -> None:
        super().__init__(parts)
        places: dict[str, str] = {}
        for part in self.parts:
            for path in {part.path(index) for index in range(len(part))}:
                if path in places:
                    raise UserError(f"{path} is in {places[path]} and in {part.name}; name each data set once")
                places[path] = part.name
        self.sources = [part.name for part in self.parts]
        self.classes = [f"{part.name}/{name}" for part in self.parts for name in part.classes]
        self._shifts: list[tuple[int, int, int]] = []  # of each part: source, first camera, first identity
        cameras = identities = 0
        for source, part in enumerate(self.parts):
            self._shifts.append((source, cameras, identities))
            cameras += max(part.facts["camera"], default=-1) + 1
            identities += len(part.classes)
        moved = [
            self._moved(number, target, camera)
            for number, part in enumerate(self.parts)
            for target, camera in zip(part.targets, part.facts["camera"], strict=True)
        ]
        self.targets = [target for target, _ in moved]
        of_parts = [number for number, part in enumerate(self.parts) for _ in range(len(part))]
        self.facts = {**self.facts, "camera": [camera for _, camera in moved], "source": of_parts}

    def _moved(self, number: int, target: int, camera: int) -> tuple[int, int]:
        _, cameras, identities = self._shifts[number]
        return (target if target == JUNK else target + identities), (camera if camera < 0 else camera + cameras)

    def _own(self, index: int, sample: Sample) -> Sample:
        facts = {name: values[index] for name, values in self.facts.items()}
        return {**sample, **facts, "target": self.targets[index], "index": index}


class SomeIdentities(Part):
    """The images of some identities, which are numbered anew from 0."""

    def __init__(self, whole: Dataset, identities: Sequence[int]) -> None:
        numbers = {identity: number for number, identity in enumerate(identities)}
        super().__init__(whole, [i for i, target in enumerate(whole.targets) if target in numbers])
        self.classes = [whole.classes[identity] for identity in identities]
        self.targets = [numbers[target] for target in self.targets]

    def arrays(self) -> tuple[Tensor, Tensor] | None:
        """The whole's rows, with the targets as they are here."""
        arrays = super().arrays()
        return None if arrays is None else (arrays[0], torch.tensor(self.targets))

    def _own(self, index: int, sample: Sample) -> Sample:
        return {**sample, "target": self.targets[index], "index": index}


def whole_of(dataset: Dataset) -> Dataset:
    """What it is a part of, or itself."""
    while isinstance(dataset, Part):
        dataset = dataset.whole
    return dataset


def source_names(dataset: Dataset) -> list[str]:
    """Of each data set that is joined in this one a short name, by its number, fit for the name of a score: `market1501`, the
    folder's own name for `identity_folder:PATH`, with a number behind where two are the same."""
    short = []
    for name in getattr(whole_of(dataset), "sources", ()):
        kind, _, place = name.partition(":")
        last = os.path.basename(os.path.normpath(place))
        short.append(re.sub(r"[^A-Za-z0-9._-]+", "_", last if kind == "identity_folder" else name))
    return [f"{name}_{short[:at].count(name) + 1}" if short.count(name) > 1 else name for at, name in enumerate(short)]


def split_identities(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """(kept, held out): whole identities, drawn. At least two of each where there are four, for one alone is found
    by every model; else one where there are two. Junk belongs to neither."""
    count = len(dataset.classes)
    least = 2 if count >= 4 else 1
    held = min(max(round(count * fraction), least), count - least)
    order = generator(seed, ORDER, 0).permutation(count)
    return (
        SomeIdentities(dataset, numpy.sort(order[held:]).tolist()),
        SomeIdentities(dataset, numpy.sort(order[:held]).tolist()),
    )


def fold_identities(dataset: Dataset, folds: int, number: int, seed: int) -> tuple[Dataset, Dataset]:
    """(kept, held out): whole identities, drawn; each is held out in one of the `folds` parts.

    Raises:
        UserError: there are fewer identities than parts.
    """
    count = len(dataset.classes)
    if count < folds:
        raise UserError(f"DATASETS.FOLDS {folds}: {dataset.name} has {count} identities; take fewer")
    held = numpy.array_split(generator(seed, ORDER, 0).permutation(count), folds)[number]
    kept = numpy.setdiff1d(numpy.arange(count), held)
    return SomeIdentities(dataset, kept.tolist()), SomeIdentities(dataset, numpy.sort(held).tolist())


def limited_identities(dataset: Dataset, limit: int, seed: int) -> Dataset:
    """The images of so many drawn identities that they are `limit` at most; of one identity at least."""
    sizes = numpy.bincount([target for target in dataset.targets if target != JUNK], minlength=len(dataset.classes))
    order = generator(seed, ORDER, 0).permutation(len(dataset.classes))
    count = max(int((numpy.cumsum(sizes[order]) <= limit).sum()), 1)
    return SomeIdentities(dataset, numpy.sort(order[:count]).tolist())
