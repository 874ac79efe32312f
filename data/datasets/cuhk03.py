"""`cuhk03`: 1,467 people on a campus, each seen by a pair of cameras (Li et al., DeepReID, CVPR 2014)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from data.cuhk03_files import classic_tests, extracted, new_protocol
from data.dataset import Dataset
from data.datasets import DATASETS
from data.identities import IdentityImages, View
from data.reid_files import named_views, roles
from utils.errors import UserError

_NAME = re.compile(r"(\d_\d{3})_([12])_\d{2}\.png$")
_FORM = "cuhk03[:labeled|detected][,classic[,0 to 19]]"


@DATASETS.register("cuhk03")
def cuhk03(place: str, root: str, train: bool, seed: int, combine_all: bool = False) -> Dataset:
    """cuhk03/ below DATASETS.ROOT, with cuhk03_release/cuhk-03.mat (or the images that were taken out of it, as
    images_{labeled,detected}/1_001_1_01.png: pair of cameras, person, view, image) and, for the new protocol,
    cuhk03_new_protocol_config_{labeled,detected}.mat. The images are taken out once, by h5py.

    `cuhk03` are the boxes of a detector and the new protocol of 767 people for training and 700 for test (Zhong et al.,
    Re-ranking person re-identification, CVPR 2017); `cuhk03:labeled` the boxes drawn by hand; `cuhk03:labeled,classic,3` number
    3 of the splits of 2014 (0 to 19), with 100 people for test, each image of whom is searched with and among. The camera is
    the view, 1 or 2.

    Raises:
        UserError: a file is missing or not as published, h5py is needed and absent, or another place.
    """
    kind, split = _parse(place)
    base = next((Path(root, name) for name in ("cuhk03", "CUHK03") if Path(root, name).is_dir()), Path(root, "cuhk03"))
    name = f"cuhk03:{place}" if place else "cuhk03"
    views = named_views(name, extracted(base, kind), _NAME, "1_001_1_01.png")
    if split is None:
        by_file = {Path(view.path).name: view for view in views}
        parts = new_protocol(base, kind)
        trained, searched, among = (
            [_found(name, by_file, file, f"{label:04}") for file, label in parts[part]]
            for part in ("train", "query", "gallery")
        )
        return IdentityImages(name, roles(train, trained, searched, among, combine_all))
    tested = classic_tests(base, split)
    trained, test = ([view for view in views if (view.identity in tested) == flag] for flag in (False, True))
    return IdentityImages(name, roles(True, trained, test, (), combine_all) if train else test)


def _parse(place: str) -> tuple[str, int | None]:
    """(labeled or detected, number of the classic split or None for the new protocol)."""
    words = [word.strip() for word in place.split(",")] if place else []
    kind = words.pop(0) if words and words[0] in ("labeled", "detected") else "detected"
    if not words:
        return kind, None
    number = words[1] if len(words) == 2 else "0" if len(words) == 1 else ""
    if words[0] != "classic" or not number.isdecimal() or int(number) > 19:
        raise UserError(f"cuhk03:{place}: write {_FORM}")
    return kind, int(number)


def _found(name: str, by_file: dict[str, View], file: str, identity: str) -> Any:
    if file not in by_file:
        raise UserError(f"{name}: the protocol names {file}, which is not among the images; remove their folder to redo it")
    return by_file[file]._replace(identity=identity)
