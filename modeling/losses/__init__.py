"""Losses by name. A file in this folder that registers a class is all it takes.

`loss(outputs, batch) -> dict[str, Tensor]`, each a mean over samples; entries whose name begins with "loss" are summed.
A class may ask, by naming them, for `num_classes`, `label_smoothing` and `class_weights`.
"""

from utils.registry import Registry

LOSSES = Registry("loss", "modeling.losses")

__all__ = ["LOSSES"]
