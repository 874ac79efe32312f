"""`identity_folder:PATH`: each folder that holds images is an identity, with train/, query/ and gallery/ (or test/) or without."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from data.dataset import Dataset
from data.datasets import DATASETS
from data.identities import IdentityImages, View
from data.images import SUFFIXES
from data.reid_files import roles
from utils.errors import UserError

_CAMERA = re.compile(r"_[a-zA-Z]*(\d+)$")
_PARTS = ("train", "query", "gallery", "test")
# names of published sets, in which the last number is not the camera; the first that fits a stem
_ELSEWHERE = (
    ("market1501", re.compile(r"^(?:-1|\d+)_c(\d+)s\d+_\d+_\d+")),
    ("dukemtmc_reid", re.compile(r"^\d+_c(\d+)_f\d+")),
    ("msmt17", re.compile(r"^\d+_\d+_(\d+)_\d+(?:morning|noon|afternoon)_")),
    ("", re.compile(r"_[cC](?:am)?(\d+)")),
)


@DATASETS.register("identity_folder")
def identity_folder(place: str, root: str, train: bool, seed: int, combine_all: bool = False) -> Dataset | None:
    """An identity is named by its folder's path below PATH (or below train/, query/, ...); the camera is the number after the
    last `_` of the file's stem (`0709_01.png`: 1), for every image or for none.

    With query/ and gallery/ (or test/) these are the test part, and train/, or the other folders, the training part. With
    test/ alone, or in PATH as a whole, each image is searched with and searched among (leave-one-out).

    Raises:
        UserError: no such folder, no image in it, query/ without a gallery, gallery/ beside test/, images beside the folders
            of identities, a camera for some of the images only, or names in which it stands elsewhere.
    """
    base = Path(place)
    if not place or not base.is_dir():
        raise UserError(f"identity_folder:{place}: no such folder; write identity_folder:PATH, with a folder for each identity")
    name = f"identity_folder:{place}"
    query, gallery = base / "query", next((base / part for part in ("gallery", "test") if (base / part).is_dir()), None)
    if (base / "gallery").is_dir() and (base / "test").is_dir():
        raise UserError(f"{name}: gallery/ and test/ are both there, and one of them would go unused; keep one")
    if query.is_dir() and gallery is None:
        raise UserError(f"{name}: query/ without gallery/ (or test/) beside it; there is nothing to search among")
    if not train and gallery is None:
        return None
    searched = _views(name, query) if query.is_dir() else []
    among = _views(name, gallery) if gallery is not None and (not train or combine_all) else []
    if not train:
        return IdentityImages(name, roles(False, (), searched, among) if searched else among)
    trained = _views(name, base / "train") if (base / "train").is_dir() else _views(name, base, skipped=_PARTS)
    return IdentityImages(name, roles(True, trained, searched, among, combine_all))


def _views(name: str, folder: Path, skipped: Sequence[str] = ()) -> list[View]:
    """All images below, sorted, each searched with and among; without those in the folders `skipped`."""
    views, unknown, elsewhere = [], [], []
    for where, folders, files in os.walk(folder):
        top = Path(where) == folder
        folders[:] = sorted(one for one in folders if not one.startswith(".") and not (top and one in skipped))
        identity = Path(where).relative_to(folder).as_posix()
        for file in sorted(files):
            stem, suffix = os.path.splitext(file)
            if suffix.lower() not in SUFFIXES:
                continue
            path, camera = os.path.join(where, file), _CAMERA.search(stem)
            if top:
                raise UserError(f"{name}: {path} lies in no identity's folder; put it into one, or remove it")
            if camera is None:
                unknown.append(path)
            elsewhere += _named_elsewhere(path, stem, int(camera[1]) if camera else -1)
            views.append(View(path, identity, int(camera[1]) if camera else -1))
    if not views:
        raise UserError(f"{name}: no images below {folder}; put a folder for each identity there ({SUFFIXES[0]}, ...)")
    if 2 * len(elsewhere) > len(views):
        raise UserError(f"{name}: {elsewhere[0]}")
    if unknown and len(unknown) < len(views):
        raise UserError(
            f"{name}: the names of {len(unknown)} of {len(views)} images end in no camera's number, such as {unknown[0]}; "
            "name all of them like 0709_01.png (camera 1), or none"
        )
    return views


def _named_elsewhere(path: str, stem: str, camera: int) -> list[str]:
    """What is said of a stem in which the camera seems to stand at another place; [] where it does not."""
    for published, pattern in _ELSEWHERE:
        found = pattern.search(stem)
        if found and int(found[1]) != camera:
            taken = f"{camera}, the number after the last _, would be taken" if camera >= 0 else "none would be taken"
            return [
                f"{path} seems to be by camera {found[1]}, and {taken}; "
                + (f"if this is {published}, name that data set, else " if published else "")
                + f"put the camera last, as in {stem.split('_')[0]}_001_c{found[1]}.png"
            ]
        if found:
            return []
    return []
