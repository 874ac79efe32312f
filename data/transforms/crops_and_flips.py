"""PadCrop and RandomHorizontalFlip for many samples at once: where their windows lie, and which are mirrored.

These are what the two transforms would draw one by one: each sample's numbers are those of its own generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy

from data.randomness import SAMPLE, first_draws, generator
from data.transforms.geometry import PadCrop, RandomHorizontalFlip

Moves = tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]  # for each sample: top, left, whether it is mirrored


class CropsAndFlips:
    """What a list of one PadCrop, or one RandomHorizontalFlip, or both in either order draws.

    Args:
        transforms: such a list; see `can_be_batched`.
    """

    def __init__(self, transforms: Sequence[Any]) -> None:
        self.transforms = list(transforms)
        self.padding = next((t.padding for t in transforms if isinstance(t, PadCrop)), 0)
        self.prob = next((t.prob for t in transforms if isinstance(t, RandomHorizontalFlip)), 0.0)
        self.flips = any(isinstance(t, RandomHorizontalFlip) for t in transforms)
        self.flips_first = isinstance(transforms[0], RandomHorizontalFlip)

    def draw(self, seed: int, epoch: int, positions: numpy.ndarray) -> Moves:
        """Where in its padded image the window of the sample at each position lies, and whether it is then mirrored."""
        words = first_draws(seed, SAMPLE, epoch, positions)
        choices = 2 * self.padding + 1
        crop = words[1 if self.flips_first else 0]
        flip = words[0 if self.flips_first or not self.padding else 1]
        mirrored = (flip >> numpy.uint64(11)) * 2.0**-53 < self.prob if self.flips else numpy.zeros(len(positions), bool)
        products = numpy.stack([crop & numpy.uint64(0xFFFFFFFF), crop >> numpy.uint64(32)]) * numpy.uint64(choices)
        top, left = (products >> numpy.uint64(32)).astype(numpy.int64)
        # Where NumPy would have drawn once more, to be fair to all choices (Lemire, 2019): hardly ever.
        redrawn = (products & numpy.uint64(0xFFFFFFFF)) < numpy.uint64((2**32 - choices) % choices)
        for i in numpy.flatnonzero(redrawn.any(axis=0)):
            top[i], left[i], mirrored[i] = self._draw_one(seed, epoch, int(positions[i]))
        if self.flips_first:  # the window of the mirrored image, seen in the image
            left = numpy.where(mirrored, choices - 1 - left, left)
        return top, left, mirrored

    def _draw_one(self, seed: int, epoch: int, position: int) -> tuple[int, int, bool]:
        rng = generator(seed, SAMPLE, epoch, position)
        top, left, mirrored = 0, 0, False
        for transform in self.transforms:
            if isinstance(transform, PadCrop):
                top, left = rng.integers(0, 2 * self.padding + 1, size=2).tolist()
            else:
                mirrored = bool(rng.random() < self.prob)
        return top, left, mirrored


def can_be_batched(transforms: Sequence[Any]) -> bool:
    """Whether they are at most one PadCrop and one RandomHorizontalFlip, the very classes, and nothing else."""
    kinds = [type(transform) for transform in transforms]
    return bool(kinds) and len(set(kinds)) == len(kinds) and set(kinds) <= {PadCrop, RandomHorizontalFlip}
