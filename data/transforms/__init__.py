"""Transforms by name: `transform(sample, rng) -> sample`.

A file in this folder that registers a class is all that it takes; its keyword arguments can be given in the YAML:
`INPUT.TRANSFORMS_TRAIN: [{PadCrop: {padding: 4}}, RandomHorizontalFlip]`.
"""

from utils.registry import Registry

TRANSFORMS = Registry("transform", "data.transforms")

__all__ = ["TRANSFORMS"]
