"""Losses by name. A file in this folder that registers a class is all it takes.

`loss(outputs, batch) -> dict[str, Tensor]`, each a mean over samples; entries whose name begins with "loss" are summed.
A class may ask, by naming them, for `num_classes`, `label_smoothing`, `class_weights` and `focal_gamma`. One that takes
soft targets (B x C, beside class indices B) says so with a class attribute `soft_targets = True`.
"""

from utils.registry import Registry

LOSSES = Registry("loss", "modeling.losses")

__all__ = ["LOSSES"]
