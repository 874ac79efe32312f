"""Data sets by name. A file in this folder that registers `factory(place, root, train, seed) -> Dataset` is all it takes.

`place` is what stands behind the colon of `name:PLACE` (a factory that takes none leaves the argument out), `root` is
DATASETS.ROOT, `train` tells the training part from the test part, and `seed` is SPLIT_SEED, for sets without an official
test part. A factory returns None where the set has no such part.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from utils.errors import UserError
from utils.registry import Registry

DATASETS = Registry("data set", "data.datasets")

__all__ = ["DATASETS", "factory_of"]


def factory_of(name: str) -> Callable[..., Any]:
    """The factory of `name:PLACE`, which knows its place already.

    Raises:
        UserError: no such data set, or it takes no place.
    """
    kind, _, place = name.partition(":")
    factory = DATASETS.get(kind)
    if "place" in inspect.signature(factory).parameters:
        return partial(factory, place=place)
    if place:
        raise UserError(f"{name}: {kind} takes nothing behind a colon; write {kind}")
    return factory
