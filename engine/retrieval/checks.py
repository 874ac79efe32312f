"""What is wrong with the queries of a data set, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from engine.retrieval.images import Images, SameIdentity
from engine.retrieval.ranking import KS
from utils.errors import UserError


def check_queries(
    name: str, targets: Sequence[int], facts: Mapping[str, Sequence[int]], path: Callable[[int], str]
) -> list[str]:
    """Warnings on the queries of a test or validation split.

    Args:
        name: of the data set, for messages.
        path: where a sample is from, by its number.

    Raises:
        UserError: no query has a match; or all gallery images of a source are of one identity, so that every model finds
            it; or the camera is known of a part of the images of a source only, so that who counts would differ from query
            to query.
    """
    count = len(targets)
    target, camera = torch.tensor(targets, dtype=torch.int64), torch.tensor(facts.get("camera", [-1] * count))
    source = torch.tensor(facts.get("source", [0] * count))
    query, gallery = (torch.tensor(facts.get(role, [1] * count)) == 1 for role in ("query", "gallery"))
    images, known = Images(torch.arange(count), target, camera), target >= 0
    matches, largest = torch.zeros(count, dtype=torch.int64), 0
    for number in source.unique().tolist():
        here = known & (source == number)
        dark = (here & (camera < 0)).nonzero()[:, 0]
        if 0 < len(dark) < int(here.sum()):
            raise UserError(
                f"{name}: the camera of {len(dark)} of {int(here.sum())} images is not known, of the others it is (first: "
                f"{path(int(dark[0]))}); name the camera of each image or of none"
            )
        rows, among = (here & query).nonzero()[:, 0], here & gallery
        if len(rows) and len(target[among].unique()) == 1:
            raise UserError(
                f"{name}: all {int(among.sum())} gallery images are of one identity, so that every model scores 1 (first: "
                f"{path(int(among.nonzero()[0]))}); add identities, or change what leaves one: DATASETS.VAL_FRACTION (0: no "
                "validation), FOLDS or LIMIT"
            )
        largest, same = max(largest, int(among.sum()) if len(rows) else 0), SameIdentity(images.take(among))
        for part in rows.split(1024):
            pairs = same.pairs(images.take(part))
            matches[part] += torch.bincount(pairs.rows[pairs.counts], minlength=len(part))
    asked = known & query
    without = int((asked & (matches == 0)).sum())
    if without == int(asked.sum()):
        raise UserError(
            f"{name}: none of {without} queries has a match: a gallery image of the same identity, other than itself, by "
            "another camera where cameras are known; check which images are queries and gallery, and the cameras"
        )
    lone = f"{without} of {int(asked.sum())} queries of {name} have no match in the gallery and enter no score"
    sure = ", ".join(f"rank{k}" for k in KS if k >= largest)
    few = f"the gallery of {name} has {largest} images, so that {sure} are 1 whatever the model"
    return [lone] * bool(without) + [few] * bool(sure)
