"""`dukemtmc_reid`: 1,812 people on a campus, seen by 8 cameras (Ristani et al., 2016; Zheng et al., Unlabeled samples, 2017)."""

from __future__ import annotations

import re

from data.dataset import Dataset
from data.datasets import DATASETS
from data.identities import IdentityImages
from data.reid_files import named_views, published_folder, roles

_PLACES = ("DukeMTMC-reID", "dukemtmc-reid/DukeMTMC-reID", "dukemtmc_reid/DukeMTMC-reID")
_NAME = re.compile(r"(\d{4})_c([1-8])_f\d+\.")
_SOURCE = "Its authors no longer give it out; the terms are at github.com/layumi/DukeMTMC-reID_evaluation"


@DATASETS.register("dukemtmc_reid")
def dukemtmc_reid(root: str, train: bool, seed: int, combine_all: bool = False) -> Dataset:
    """DukeMTMC-reID/{bounding_box_train,query,bounding_box_test} below DATASETS.ROOT (or below dukemtmc-reid/ there), with
    names such as 0001_c2_f0046182.jpg: person 1, camera 2. The 408 people that only one camera saw are in the gallery alone.

    Raises:
        UserError: a folder is missing or empty, or a name is not of that form.
    """
    parts = ("bounding_box_train", "query", "bounding_box_test")
    base = published_folder("dukemtmc_reid", root, _PLACES, parts, _SOURCE)
    trained, searched, among = (named_views("dukemtmc_reid", base / part, _NAME, "0001_c2_f0046182.jpg") for part in parts)
    return IdentityImages("dukemtmc_reid", roles(train, trained, searched, among, combine_all))
