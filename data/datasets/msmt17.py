"""`msmt17`: 4,101 people on a campus, seen by 15 cameras (Wei et al., Person transfer GAN to bridge domain gap, CVPR 2018)."""

from __future__ import annotations

import os
import re
from pathlib import Path

from data.dataset import Dataset
from data.datasets import DATASETS
from data.identities import IdentityImages, View
from data.reid_files import published_folder, roles
from utils.errors import UserError

_FOLDERS = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}  # V2: faces are blurred
_LISTS = ("list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt")
_LINE = re.compile(r"(\S*?\d+_\d+_(\d+)_[^/\s]*) (\d+)")
_SOURCE = "Its authors give it out to who signs their licence: www.pkuvmc.com/publications/msmt17.html"


@DATASETS.register("msmt17")
def msmt17(place: str, root: str, train: bool, seed: int, combine_all: bool = False) -> Dataset:
    """MSMT17_V1 (train/, test/) or MSMT17_V2 (mask_train_v2/, mask_test_v2/) below DATASETS.ROOT (or below msmt17/ there),
    each with list_{train,val,query,gallery}.txt; `msmt17:V1` or `msmt17:V2` where both are there, else V1 is taken.

    A line of a list is a path such as 0000/0000_000_01_0303morning_0008_0.jpg (camera 1), a space and the identity; the
    numbers of training and test begin anew. The images of list_val.txt are of people of list_train.txt; as is usual they are
    left out, but for DATASETS.COMBINE_ALL.

    Raises:
        UserError: a folder, list or image is missing, a list is empty, a line is not of that form, or another place.
    """
    if place not in ("", *_FOLDERS):
        raise UserError(f"msmt17:{place}: write msmt17, msmt17:V1 or msmt17:V2")
    name = f"msmt17:{place}" if place else "msmt17"
    there = (v for v in _FOLDERS for above in ("", "msmt17") if Path(root, above, f"MSMT17_{v}").is_dir())
    version = place or next(there, "V1")
    places = (f"MSMT17_{version}", f"msmt17/MSMT17_{version}")
    training, test = _FOLDERS[version]
    base = published_folder(name, root, places, (training, test, *_LISTS), _SOURCE)
    trained, validated = (_listed(name, base, file, training, "train") for file in _LISTS[:2])
    searched, among = (_listed(name, base, file, test, "test") for file in _LISTS[2:])
    return IdentityImages(name, roles(train, trained + (validated if combine_all else []), searched, among, combine_all))


def _listed(name: str, base: Path, file: str, folder: str, part: str) -> list[View]:
    views = []
    for number, line in enumerate((base / file).read_text(encoding="utf-8").splitlines(), 1):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise UserError(
                f"{name}: {base / file}:{number}: {line.strip()[:80]!r} is no line as published, such as "
                "0000/0000_000_01_0303morning_0008_0.jpg 0"
            )
        path = os.path.join(base, folder, match[1])
        if not os.path.exists(path):
            raise UserError(f"{name}: {path} is missing, which {file} names; unpack the data set again")
        views.append(View(path, f"{part}/{int(match[3]):04}", int(match[2])))
    if not views:
        raise UserError(f"{name}: {base / file} names no image")
    return views
