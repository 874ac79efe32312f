"""A linear softmax classifier: the smallest thing that learns."""

from __future__ import annotations

from torch import nn

from modeling.models import MODELS


@MODELS.register("softmax")
def softmax(*, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    """B x C x H x W -> logits B x num_classes."""
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size[0] * image_size[1], num_classes))
