"""Losses by name. A file in this folder that registers a class is all it takes.

`loss(outputs, batch) -> dict[str, Tensor]`, each a mean over samples; entries whose name begins with "loss" are summed.
A class may ask, by naming them, for `num_classes`, `feature_dim`, `label_smoothing`, `class_weights` and `focal_gamma`;
other arguments come from LOSS.ARGS or LOSS.TERMS. What it takes is said by attributes of the class: `soft_targets = True`
where targets may be shares of classes, B x C, as mixup gives them, and `target_kinds`, the kinds of `Dataset.target_kind`
that it is for (without it, any).
"""

from utils.registry import Registry

LOSSES = Registry("loss", "modeling.losses")

__all__ = ["LOSSES"]
