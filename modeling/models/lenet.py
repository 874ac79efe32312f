"""LeNet-5 with max pooling and ReLU (LeCun et al., Gradient-based learning applied to document recognition, 1998)."""

from __future__ import annotations

from torch import nn

from modeling.models import MODELS
from utils.errors import UserError


@MODELS.register("lenet")
def lenet(*, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    """B x C x H x W (28 x 28 in the paper's use; at least 12 x 12) -> logits B x num_classes.

    Raises:
        UserError: the image is smaller than two 5 x 5 convolutions with pooling need.
    """
    height, width = ((side // 2 - 4) // 2 for side in image_size)
    if min(height, width) < 1:
        raise UserError(f"lenet needs images of at least 12 x 12 pixels, got {image_size}; set INPUT.SIZE_TRAIN 28")
    return nn.Sequential(
        nn.Conv2d(in_channels, 32, 5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),  # after pooling: the same numbers, and a quarter of the work
        nn.Conv2d(32, 64, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(64 * height * width, 120),
        nn.ReLU(inplace=True),
        nn.Linear(120, 84),
        nn.ReLU(inplace=True),
        nn.Linear(84, num_classes),
    )
