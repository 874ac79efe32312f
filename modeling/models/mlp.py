"""A multi-layer perceptron on the pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from modeling.models import MODELS


@MODELS.register("mlp")
def mlp(*, in_channels: int, num_classes: int, image_size: tuple[int, int], hidden: Sequence[int] = (128,)) -> nn.Module:
    """B x C x H x W -> logits B x num_classes, with ReLU between layers of `hidden` widths."""
    widths = [in_channels * image_size[0] * image_size[1], *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], num_classes))
