"""Transforms by name: `transform(sample, rng) -> sample`.

A file in this folder that registers a class is all that it takes; its keyword arguments can be given in the YAML:
`INPUT.TRANSFORMS_TRAIN: [{PadCrop: {padding: 4}}, RandomHorizontalFlip]`.

A class says `in_threads = True` where it draws from `rng` alone and keeps nothing between calls, so that LOADER auto may
run it in threads, and False where it draws from a global generator: threads then refuse it.
"""

from utils.registry import Registry

TRANSFORMS = Registry("transform", "data.transforms")

__all__ = ["TRANSFORMS"]
