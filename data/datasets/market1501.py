"""`market1501`: 1,501 people before a supermarket, seen by 6 cameras (Zheng et al., Scalable person re-identification, 2015)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from data.dataset import Dataset
from data.datasets import DATASETS
from data.identities import DISTRACTOR, IdentityImages, View
from data.images import SUFFIXES
from data.reid_files import named_views, published_folder, roles
from utils.errors import UserError

_PLACES = ("Market-1501-v15.09.15", "market1501/Market-1501-v15.09.15", "market1501")
_NAME = re.compile(r"(-1|\d{4})_c([1-6])s\d+_\d+_\d+\.")
_CAMERA = re.compile(r"(?:-1|\d+)_c(\d)")
_SPECIAL = {"-1": "", "0000": DISTRACTOR}
_SOURCE = "Its authors give it out for research: zheng-lab.cecs.anu.edu.au/Project/project_reid.html"


@DATASETS.register("market1501")
def market1501(place: str, root: str, train: bool, seed: int, combine_all: bool = False) -> Dataset:
    """Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test} below DATASETS.ROOT (or below market1501/ there),
    with names such as 0002_c1s1_000451_03.jpg: person 2, camera 1.

    Identity -1 is junk and counts neither for nor against; 0000 are distractors, which are wrong for every query.
    `market1501:500k` adds the 500,000 distractors in images/ (or distractors_500k/) to the gallery.

    Raises:
        UserError: a folder is missing or empty, a name is not of that form, or another place.
    """
    if place not in ("", "500k"):
        raise UserError(f"market1501:{place}: write market1501, or market1501:500k for the gallery with 500,000 distractors")
    name = f"market1501:{place}" if place else "market1501"
    base = published_folder("market1501", root, _PLACES, ("bounding_box_train", "query", "bounding_box_test"), _SOURCE)
    trained, searched, among = (
        [view._replace(identity=_SPECIAL.get(view.identity, view.identity)) for view in views]
        for views in (
            named_views("market1501", base / part, _NAME, "0002_c1s1_000451_03.jpg")
            for part in ("bounding_box_train", "query", "bounding_box_test")
        )
    )
    if place and not train:
        among += _distractors(base)
    return IdentityImages(name, roles(train, trained, searched, among, combine_all))


def _distractors(base: Path) -> list[View]:
    folder = next((base / name for name in ("images", "distractors_500k") if (base / name).is_dir()), None)
    files = sorted(os.listdir(folder)) if folder else []
    files = [file for file in files if os.path.splitext(file)[1].lower() in SUFFIXES]
    if folder is None or not files:
        raise UserError(f"market1501:500k: no image in {base / 'images'}; unpack distractors_500k.zip there. {_SOURCE}")
    cameras = [_CAMERA.match(file) for file in files]
    return [
        View(os.path.join(folder, file), DISTRACTOR, int(camera[1]) if camera else 0)  # no query's, so whose is all one
        for file, camera in zip(files, cameras, strict=True)
    ]
