"""What the published data sets of re-identification have in common: where they lie, what their file names say, their parts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from data.identities import DISTRACTOR, View
from data.images import SUFFIXES
from utils.errors import UserError


def published_folder(name: str, root: str, places: Sequence[str], needed: Sequence[str], source: str) -> Path:
    """The first of `places` below `root` that is there, with all that is needed in it.

    Raises:
        UserError: none is there, or one without a file or folder of `needed`; `source` says where one gets it.
    """
    base = next((Path(root, place) for place in places if Path(root, place, needed[0]).exists()), None)
    base = base or next((Path(root, place) for place in places if Path(root, place).exists()), Path(root, places[0]))
    missing = [part for part in needed if not (base / part).exists()]
    if missing:
        raise UserError(
            f"{name}: {base / missing[0]} is missing; unpacked as it is published, {base} holds {', '.join(needed)}. {source}; "
            "DATASETS.ROOT names the folder that it lies below"
        )
    return base


def named_views(name: str, folder: Path, pattern: re.Pattern[str], example: str) -> list[View]:
    """The images of a folder, sorted; `pattern` finds identity and camera at the beginning of a file's name. Other files
    than images are passed over.

    Raises:
        UserError: no image, or one whose name is not of that form.
    """
    views = []
    for file in sorted(os.listdir(folder)):
        if os.path.splitext(file)[1].lower() not in SUFFIXES:
            continue
        match = pattern.match(file)
        if match is None:
            raise UserError(f"{name}: the name of {folder / file} is not as published, such as {example}; rename or remove it")
        views.append(View(os.path.join(folder, file), match[1], int(match[2])))
    if not views:
        raise UserError(f"{name}: no image in {folder}; it holds files such as {example}")
    return views


def roles(
    train: bool, trained: Sequence[View], searched: Sequence[View], among: Sequence[View], combine_all: bool = False
) -> list[View]:
    """The training part: `trained`, with `combine_all` the others as well, but neither junk nor distractors; or the test part:
    `searched` as queries and `among` as the gallery."""
    if not train:
        return [view._replace(gallery=False) for view in searched] + [view._replace(query=False) for view in among]
    views: Iterable[View] = [*trained, *searched, *among] if combine_all else trained
    return [view._replace(query=True, gallery=True) for view in views if view.identity not in ("", DISTRACTOR)]
