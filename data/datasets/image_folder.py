"""One folder a class: `image_folder:PATH`, with `train/` and `test/` (or `val/`) below it, or the classes themselves."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from data.dataset import Crop, Dataset, Sample
from data.datasets import DATASETS
from data.images import SUFFIXES, Choose, Finish, read_image
from utils.errors import UserError


class ImageFiles(Dataset):
    """Image files with a class each, read when asked for (C x H x W uint8).

    Args:
        files: one path a sample.
        targets: index into `classes`, one a sample; or a tuple of them, for any number of classes a sample.
    """

    in_threads = True

    def __init__(
        self, name: str, files: Sequence[str], targets: Sequence[Any], classes: list[str], channels: int = 3
    ) -> None:
        self.name, self.files, self.targets, self.classes, self.channels = name, files, targets, classes, channels
        self.mean, self.std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) if channels == 3 else ([0.5], [0.25])

    def __getitem__(self, index: int) -> Sample:
        return self._sample(index, self._read(index))

    def cropped(self, index: int, crop: Crop, rng: numpy.random.Generator) -> Sample:
        """Decodes no more of a file than the region needs."""
        if type(self).__getitem__ is not ImageFiles.__getitem__:  # a subclass adds what has to be cropped as well
            return super().cropped(index, crop, rng)
        return self._sample(index, self._read(index, lambda height, width: crop.region(height, width, rng), crop.fit))

    def _read(self, index: int, choose: Choose | None = None, finish: Finish | None = None) -> Tensor:
        return read_image(self.files[index], self.channels, choose, finish)

    def _sample(self, index: int, image: Tensor) -> Sample:
        facts = {name: values[index] for name, values in self.facts.items()}
        return {"image": image, "target": self._target(index), "index": index, **facts}

    def _target(self, index: int) -> Any:
        target = self.targets[index]
        if isinstance(target, tuple):
            ones = torch.zeros(len(self.classes))
            ones[list(target)] = 1
            target = ones
        return target

    def path(self, index: int) -> str:
        """The file."""
        return self.files[index]

    def digest(self) -> str:
        """Of names, sizes and classes: reading every image would take too long."""
        parts = hashlib.sha256()
        for file, target in zip(self.files, self.targets, strict=True):
            size = os.stat(file).st_size if os.path.exists(file) else -1
            parts.update(f"{Path(file).parent.name}/{Path(file).name}\0{size}\0{target}\n".encode())
        return parts.hexdigest()[:16]


@DATASETS.register("image_folder")
def image_folder(place: str, root: str, train: bool, seed: int) -> Dataset | None:
    """Classes are the sorted names of the folders; files and folders that begin with a dot are passed over.

    Raises:
        UserError: no such folder, or no image in it.
    """
    base = Path(place)
    if not place or not base.is_dir():
        raise UserError(f"image_folder:{place}: no such folder; write image_folder:PATH, with one folder a class in it")
    parts = [base / name for name in (("train",) if train else ("test", "val")) if (base / name).is_dir()]
    if not parts and not train:
        return None  # no test part of its own
    folder = parts[0] if parts else base
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    files, targets = [], []
    for target, name in enumerate(classes):
        for file in sorted((folder / name).rglob("*")):
            if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):  # macOS leaves ._1.png beside 1.png
                files.append(str(file))
                targets.append(target)
    if not files:
        raise UserError(f"image_folder:{place}: no images below {folder}; put one folder a class there ({SUFFIXES[0]}, ...)")
    check_names(f"image_folder:{place}", files)
    return ImageFiles(f"image_folder:{place}", files, targets, classes)


def check_names(name: str, files: Sequence[str]) -> None:
    """Raises UserError where a path is no UTF-8, so that no record of a data set could name it."""
    try:
        "".join(files).encode()
    except UnicodeEncodeError as error:
        odd = next(file for file in files if any("\udc80" <= letter <= "\udcff" for letter in file))
        raise UserError(f"{name}: the name {os.fsencode(odd)!r} is no UTF-8; rename the file or its folder") from error
