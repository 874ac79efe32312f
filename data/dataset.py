"""What a data set is, and the plain ones: arrays in memory, a part of another, several end to end."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy
import torch
from torch import Tensor

from data.images import Region

Sample = dict[str, Any]


@runtime_checkable
class Crop(Protocol):
    """A transform that takes a region of an image and resizes it, and can say which before the image is read."""

    def __call__(self, sample: Sample, rng: numpy.random.Generator) -> Sample: ...
    def region(self, height: int, width: int, rng: numpy.random.Generator) -> Region: ...
    def fit(self, image: Tensor) -> Tensor: ...


class Dataset:
    """A map-style data set: `len` and `dataset[i] -> {"image": C x H x W uint8, "target": ..., "index": i}`.

    Attributes:
        name: as in the config.
        classes: names in the order of the targets; empty where the target is no class.
        targets: one per sample, for splits and histograms without reading images: the number of its class; a tuple of
            numbers where a sample has any number of classes (multi-label), while `dataset[i]["target"]` is then a
            float32 tensor with a 0 or 1 for each class; or a float (regression). None is a sample without a label:
            `build_splits` refuses it or leaves it out.
        channels: of an image (for tables: the number of columns).
        mean, std: of the pixels, fractions of full scale, one a channel; () leaves images at 0 to 1.
        facts: what else is known of each sample before it is read, by name, one whole number a sample (a camera, ...);
            `dataset[i]` has them too.
        open_set: whether the classes are identities, of which another split has others (retrieval). A target of -1 is then
            an image of nobody, which counts neither for nor against.
        pieces: where reading is cheaper piece by piece (shards), the number of the piece that each sample is of; else None.
        in_threads: whether `dataset[i]` may be asked for by several threads at a time, so that LOADER auto takes threads.
    """

    name = ""
    in_threads = False
    open_set = False
    facts: Mapping[str, Sequence[int]] = {}
    pieces: numpy.ndarray | None = None
    classes: Sequence[str] = ()
    targets: Sequence[Any] = ()
    channels = 3
    mean: Sequence[float] = ()
    std: Sequence[float] = ()

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def target_kind(self) -> str:
        """What a target is: "class" (one of them), "labels" (any number of them), "value" (a regression), or "identity" (a
        class of an open set)."""
        if self.open_set:
            return "identity"
        if not self.classes:
            return "value"
        return "labels" if len(self.targets) and isinstance(self.targets[0], tuple) else "class"

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError

    def cropped(self, index: int, crop: Crop, rng: numpy.random.Generator) -> Sample:
        """Sample `index` after its first transform, `crop`. A data set of files reads only what that needs."""
        return crop(self[index], rng)

    def part(self, indices: Sequence[int] | numpy.ndarray) -> Dataset:
        """Some of its samples, as a data set of their own."""
        return Part(self, indices)

    def arrays(self) -> tuple[Tensor, Tensor] | None:
        """All images (N x C x H x W uint8) and targets (N) at once, where they lie in memory anyway."""
        return None

    def path(self, index: int) -> str:
        """Where sample `index` comes from, for messages and predictions.csv."""
        return f"{self.name}[{index}]"

    def digest(self) -> str:
        """16 hex digits that change with the content (for folders: with names and sizes)."""
        parts = hashlib.sha256()
        for i in range(len(self)):
            parts.update(f"{self.path(i)}\0{self.targets[i]}\n".encode())
        return parts.hexdigest()[:16]


class ArrayDataset(Dataset):
    """Images that lie in memory as one tensor.

    Args:
        images: N x C x H x W uint8, or N x ... float for what is no image.
        targets: N class numbers (int64) or values (float32), or N x C with a 0 or 1 for each class (float32).
    """

    def __init__(
        self,
        name: str,
        images: Tensor,
        targets: Tensor,
        classes: Sequence[str] = (),
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
    ) -> None:
        self.name, self.images, self.labels, self.classes = name, images.contiguous(), targets, list(classes)
        self._digest = ""
        self.targets = labels_of(targets) if targets.ndim == 2 else targets.tolist()
        self.channels = images.shape[1]
        self.mean, self.std = mean, std

    def __getitem__(self, index: int) -> Sample:
        target = self.labels[index] if self.labels.ndim == 2 else self.targets[index]
        return {"image": self.images[index], "target": target, "index": index}

    def arrays(self) -> tuple[Tensor, Tensor]:
        """The images and targets themselves."""
        return self.images, self.labels

    def digest(self) -> str:
        """Of the bytes of images and targets."""
        if not self._digest:
            content = hashlib.sha256(self.images.numpy().data)
            content.update(self.labels.contiguous().numpy().data)
            self._digest = content.hexdigest()[:16]
        return self._digest


class Part(Dataset):
    """Some samples of another data set, numbered anew from 0."""

    def __init__(self, whole: Dataset, indices: Sequence[int] | numpy.ndarray) -> None:
        self.whole, self.indices = whole, numpy.asarray(indices, dtype=numpy.int64).tolist()
        self.name, self.classes, self.channels = whole.name, whole.classes, whole.channels
        self.mean, self.std, self.in_threads, self.open_set = whole.mean, whole.std, whole.in_threads, whole.open_set
        self.targets = [whole.targets[i] for i in self.indices]
        self.facts = {name: [values[i] for i in self.indices] for name, values in whole.facts.items()}
        self._arrays: tuple[Tensor, Tensor] | None = None

    def __getitem__(self, index: int) -> Sample:
        return self._own(index, self.whole[self.indices[index]])

    def cropped(self, index: int, crop: Crop, rng: numpy.random.Generator) -> Sample:
        """The whole's."""
        return self._own(index, self.whole.cropped(self.indices[index], crop, rng))

    def _own(self, index: int, sample: Sample) -> Sample:
        return {**sample, "index": index}

    def arrays(self) -> tuple[Tensor, Tensor] | None:
        """The rows of the whole's arrays, copied once."""
        arrays = self.whole.arrays() if self._arrays is None else None
        if arrays is not None:
            rows = torch.tensor(self.indices, dtype=torch.int64)
            self._arrays = arrays[0].index_select(0, rows), arrays[1].index_select(0, rows)
        return self._arrays

    def path(self, index: int) -> str:
        """The whole's."""
        return self.whole.path(self.indices[index])

    def digest(self) -> str:
        """Of the whole's digest and the chosen samples."""
        return hashlib.sha256(f"{self.whole.digest()}{self.indices}".encode()).hexdigest()[:16]


class Joined(Dataset):
    """Several data sets with equal classes, end to end."""

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.parts = list(parts)
        first = self.parts[0]
        self.name = "+".join(part.name for part in self.parts)
        self.classes, self.channels, self.mean, self.std = first.classes, first.channels, first.mean, first.std
        self.in_threads, self.open_set = all(part.in_threads for part in self.parts), first.open_set
        self.targets = [target for part in self.parts for target in part.targets]
        shared = [name for name in first.facts if all(name in part.facts for part in self.parts)]
        self.facts = {name: [value for part in self.parts for value in part.facts[name]] for name in shared}
        self._ends = numpy.cumsum([len(part) for part in self.parts]).tolist()
        if all(part.pieces is not None for part in self.parts):
            self.pieces = _end_to_end([part.pieces for part in self.parts if part.pieces is not None])

    def _home(self, index: int) -> tuple[Dataset, int]:
        number = bisect.bisect_right(self._ends, index)
        return self.parts[number], index - (self._ends[number - 1] if number else 0)

    def __getitem__(self, index: int) -> Sample:
        part, inner = self._home(index)
        return self._own(index, part[inner])

    def cropped(self, index: int, crop: Crop, rng: numpy.random.Generator) -> Sample:
        """The part's."""
        part, inner = self._home(index)
        return self._own(index, part.cropped(inner, crop, rng))

    def _own(self, index: int, sample: Sample) -> Sample:
        return {**sample, "index": index}

    def digest(self) -> str:
        """Of the parts' digests."""
        return hashlib.sha256("".join(part.digest() for part in self.parts).encode()).hexdigest()[:16]

    def path(self, index: int) -> str:
        """The part's."""
        part, inner = self._home(index)
        return part.path(inner)


def labels_of(rows: Tensor) -> list[tuple[int, ...]]:
    """N x C zeros and ones -> for each row the numbers of its ones, increasing."""
    return [tuple(row.nonzero()[:, 0].tolist()) for row in rows]


def _end_to_end(numbers: Sequence[numpy.ndarray]) -> numpy.ndarray:
    """Pieces of several data sets, none of which has a number twice."""
    shifts = numpy.cumsum([0, *(int(part.max(initial=-1)) + 1 for part in numbers)])
    return numpy.concatenate([part + shift for part, shift in zip(numbers, shifts[:-1], strict=True)])


def class_order(names: set[str]) -> list[str]:
    """The names of classes that say nothing of their order: numbers by value, then words by letter."""
    return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))


def class_counts(dataset: Dataset) -> list[int]:
    """Samples of each class; of several classes a sample counts for each."""
    counts = [0] * len(dataset.classes)
    for target in dataset.targets if counts else ():
        for number in target if isinstance(target, tuple) else (target,):
            counts[number] += 1
    return counts


def summary(dataset: Dataset) -> dict[str, Any]:
    """What run.json says of a split: name, samples, classes, digest."""
    return {
        "name": dataset.name,
        "samples": len(dataset),
        "classes": len(dataset.classes),
        "digest": dataset.digest(),
    }
