"""Models by name. A file in this folder that registers `factory(*, in_channels, num_classes, ...)` is all it takes.

A factory may also ask, by naming them, for `image_size` (height, width), `hidden` (MODEL.HIDDEN) and
`drop_path` (MODEL.DROP_PATH). A module whose class is called ...Block is a block: see modeling/blocks.py.
"""

from utils.registry import Registry

MODELS = Registry("model", "modeling.models")

__all__ = ["MODELS"]
