"""Models by name. A file in this folder that registers `factory(*, in_channels, num_classes, ...)` is all it takes.

A factory may also ask, by naming them, for `image_size` (height, width) and `hidden` (MODEL.HIDDEN).
"""

from utils.registry import Registry

MODELS = Registry("model", "modeling.models")

__all__ = ["MODELS"]
