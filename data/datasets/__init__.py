"""Data sets by name. A file in this folder that registers `factory(place, root, train, seed) -> Dataset` is all it takes.

`place` is what stands behind the colon of `name:PLACE` (a factory that takes none leaves the argument out), `root` is
DATASETS.ROOT, `train` tells the training part from the test part, and `seed` is SPLIT_SEED, for sets without an official
test part. A factory returns None where the set has no such part.
"""

from utils.registry import Registry

DATASETS = Registry("data set", "data.datasets")

__all__ = ["DATASETS"]
