"""`identity_folder:PATH`: each folder that holds images is an identity, with train/, query/ and gallery/ (or test/) or without."""

from __future__ import annotations

import os
import re
from pathlib import Path

from data.dataset import Dataset
from data.datasets import DATASETS
from data.identities import IdentityImages, View
from data.images import SUFFIXES
from utils.errors import UserError

_CAMERA = re.compile(r"_[a-zA-Z]*(\d+)$")


@DATASETS.register("identity_folder")
def identity_folder(place: str, root: str, train: bool, seed: int, combine_all: bool = False) -> Dataset | None:
    """An identity is named by its folder's path below PATH (or below train/, query/, ...); the camera is the number after the
    last `_` of the file's stem (`0709_01.png`: 1; -1 where there is none).

    With query/ and gallery/ (or test/) beside train/ these are the test part; with test/ alone, or in PATH as a whole, each
    image is searched with and searched among (leave-one-out).

    Raises:
        UserError: no such folder, or no image in it.
    """
    base = Path(place)
    if not place or not base.is_dir():
        raise UserError(f"identity_folder:{place}: no such folder; write identity_folder:PATH, with a folder for each identity")
    name, trained = f"identity_folder:{place}", base / "train"
    tested = test_views(base)
    if not train:
        return IdentityImages(name, tested) if tested else None
    views = views_below(trained if trained.is_dir() else base)
    if combine_all and trained.is_dir():
        views += [view._replace(query=True, gallery=True) for view in tested]
    if not views:
        raise UserError(f"identity_folder:{place}: no images; put a folder for each identity there ({SUFFIXES[0]}, ...)")
    return IdentityImages(name, views)


def test_views(base: Path) -> list[View]:
    """The test part of a folder; empty where it has none of its own."""
    gallery = next((base / name for name in ("gallery", "test") if (base / name).is_dir()), None)
    if gallery is None:
        return []
    if not (base / "query").is_dir():
        return views_below(gallery)
    searched = [view._replace(gallery=False) for view in views_below(base / "query")]
    return searched + [view._replace(query=False) for view in views_below(gallery)]


def views_below(folder: Path) -> list[View]:
    """All images below, sorted, each searched with and among."""
    views = []
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        identity = Path(where).relative_to(folder).as_posix()
        for file in sorted(files):
            stem, suffix = os.path.splitext(file)
            if suffix.lower() in SUFFIXES:
                camera = _CAMERA.search(stem)
                views.append(View(os.path.join(where, file), identity, int(camera[1]) if camera else -1))
    return views
