"""A residual network for small grey images where time counts: it halves the image at once and has few channels.

After the nets of the speed records on CIFAR-10 (Page, How to Train Your ResNet, 2018; Jordan, 94% on CIFAR-10 in 3.29
Seconds on a Single GPU, 2024), which are narrow at first, convolve little at full size and end in a maximum over the image.
"""

from __future__ import annotations

from torch import Tensor, nn

from layers import BasicBlock, ConvBNReLU, drop_path_rates
from modeling.models import MODELS


class ResNetFast(nn.Module):
    """A 5 x 5 stem of stride 2, a block at half the size, one at a quarter, maximum over the image, a linear head.

    Args:
        width: channels of the stem and the first block; the second has twice as many.
        drop_path: stochastic depth, the rate of the last block.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 32, drop_path: float = 0.0) -> None:
        super().__init__()
        first, second = drop_path_rates(drop_path, 2)
        self.stem = ConvBNReLU(in_channels, width, kernel=5, stride=2)
        self.stages = nn.Sequential(
            BasicBlock(width, width, drop_path=first),
            BasicBlock(width, 2 * width, stride=2, drop_path=second),
        )
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """B x C x H x W, any size -> logits B x num_classes."""
        return self.head(self.features(image).amax(dim=(2, 3)))

    def features(self, image: Tensor) -> Tensor:
        """The map before the maximum, B x (2 x width) x H / 4 x W / 4, for modeling/backbones.py."""
        return self.stages(self.stem(image))


@MODELS.register("resnet_fast")
def resnet_fast(*, in_channels: int, num_classes: int, drop_path: float = 0.0) -> nn.Module:
    """At its default width; for one channel and ten classes 75,626 parameters."""
    return ResNetFast(in_channels, num_classes, drop_path=drop_path)
