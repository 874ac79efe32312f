"""`omniglot`: 1,623 characters of 50 alphabets, each drawn by 20 people (Lake et al., Human-level concept learning, 2015)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from PIL import Image

from data.dataset import Dataset
from data.datasets import DATASETS
from data.identities import IdentityArrays, View
from utils.errors import UserError

_NAME = re.compile(r"\d+_(\d+)\.png")  # the character's number and the drawer's
_TRAINING, _TEST = "images_background", "images_evaluation"
_SMALL = ("images_background_small1", "images_background_small2")
_SIDE = 105  # pixels


@DATASETS.register("omniglot")
def omniglot(place: str, root: str, train: bool, seed: int, combine_all: bool = False) -> Dataset | None:
    """Grey drawings of 105 x 105 pixels, ink 0 on paper 255; an identity is a character, the camera its drawer, and every
    drawing is searched with and among. Below DATASETS.ROOT lies omniglot/ (or omniglot-py/) with images_background/ and
    images_evaluation/, or images_background_small1/ and/or small2/, or the alphabets themselves, each alphabet/character/
    NNNN_DD.png; where nothing is there, torchvision downloads the first two.

    The test part is images_evaluation. Without that folder it is, of every five alphabets in order of name, the second and
    the fourth, which leaves three for training, as in the whole set. `omniglot:Greek,Latin` are those alphabets, all for the
    split that names them.

    Raises:
        UserError: no data and no download, an unknown alphabet, or a file's name that is not of that form.
    """
    folders = _alphabets(root)
    if place:
        chosen = _named(place, folders)
        return _read(f"omniglot:{place}", chosen) if train else None
    if train and combine_all:
        return _read("omniglot", folders)
    known = {folder.parent.name for folder in folders}
    if known == {_TRAINING, _TEST}:
        return _read("omniglot", [folder for folder in folders if (folder.parent.name == _TEST) != train])
    if len(folders) < 2:
        raise UserError(f"omniglot: only one alphabet in {folders[0].parent}, and training and test need others; add some")
    return _read("omniglot", [folder for number, folder in enumerate(folders) if (number % 5 in (1, 3)) != train])


def _alphabets(root: str) -> list[Path]:
    """The folder of each alphabet, by name."""
    for base in (Path(root, name) for name in ("omniglot", "omniglot-py")):
        whole = [base / name for name in (_TRAINING, _TEST) if (base / name).is_dir()]
        small = [base / name for name in _SMALL if (base / name).is_dir()]
        above = [part for part in whole or small or [base] if part.is_dir()]
        found = {folder.name: folder for part in above for folder in part.iterdir() if any(folder.glob("*/*.png"))}
        if found:
            return [found[name] for name in sorted(found)]
    return _download(root)


def _download(root: str) -> list[Path]:
    import torchvision  # slow to import

    try:
        for background in (True, False):
            torchvision.datasets.Omniglot(root, background=background, download=True)
    except Exception as error:  # torchvision raises many kinds: URLError, RuntimeError, OSError, EOFError
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"omniglot: no alphabet/character/*.png below {Path(root, 'omniglot')} and it could not be downloaded ({reason}); "
            f"unpack {_TRAINING}.zip and {_TEST}.zip of github.com/brendenlake/omniglot there, or give another folder with "
            "DATASETS.ROOT"
        ) from error
    return _alphabets(root)


def _named(place: str, folders: Sequence[Path]) -> list[Path]:
    by_name = {folder.name: folder for folder in folders}
    wanted = [name.strip() for name in place.split(",")]
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        raise UserError(f"omniglot:{place}: no alphabet {unknown[0]!r}; there are {', '.join(sorted(by_name))}")
    return [by_name[name] for name in sorted(set(wanted))]


def _read(name: str, alphabets: Sequence[Path]) -> Dataset:
    files = [file for alphabet in alphabets for file in sorted(alphabet.glob("*/*.png"))]
    views, images = [], numpy.empty((len(files), 1, _SIDE, _SIDE), dtype=numpy.uint8)
    for number, file in enumerate(files):
        drawer = _NAME.fullmatch(file.name)
        if drawer is None:
            raise UserError(f"omniglot: the name of {file} is not as published, such as 0108_01.png; rename or remove it")
        try:
            with Image.open(file) as picture:
                images[number, 0] = numpy.asarray(picture.convert("L"))
        except (OSError, ValueError) as error:
            raise UserError(f"omniglot: {file} is no picture of {_SIDE} x {_SIDE} pixels ({error}); unpack it again") from error
        views.append(View(str(file), f"{file.parent.parent.name}/{file.parent.name}", int(drawer[1])))
    return IdentityArrays(name, torch.from_numpy(images), views, mean=[0.92], std=[0.27])
