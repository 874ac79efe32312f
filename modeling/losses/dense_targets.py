"""What the losses share that compare all classes at once: targets as B x C, and weights of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from utils.errors import UserError


def dense_targets(target: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """Class indices (B) become one-hot rows, B x C floats stay; then `smoothing` of each row is spread over all classes."""
    dense = target.float() if target.ndim == 2 else functional.one_hot(target, num_classes).float()
    return dense * (1 - smoothing) + smoothing / num_classes if smoothing else dense


def class_weights_tensor(class_weights: Sequence[float], num_classes: int) -> Tensor | None:
    """The weights scaled to a mean of 1; None where there are none.

    Raises:
        UserError: their number is not `num_classes`, or they are all 0.
    """
    if not class_weights:
        return None
    if len(class_weights) != num_classes or sum(class_weights) <= 0:
        raise UserError(f"LOSS.CLASS_WEIGHTS needs {num_classes} weights, not all 0, got {list(class_weights)}")
    weight = torch.tensor(list(class_weights), dtype=torch.float32)
    return weight / weight.mean()
