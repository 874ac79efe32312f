"""The network of the first single-GPU speed records on CIFAR-10 (Page, How to Train Your ResNet 4: Architecture, 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from layers import ConvBNReLU
from modeling.models import MODELS


class ResidualBlock(nn.Module):
    """Two convolutions beside the image itself; no rectifier after the sum. B x C x H x W -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvBNReLU(channels, channels), ConvBNReLU(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both."""
        return x + self.convs(x)


class ResNet9(nn.Module):
    """A stem and three stages that halve the image, residual blocks in the first and last, maximum over the image, a head.

    Args:
        width: channels of the stem; the stages have two, four and eight times as many.
    """

    scale = 0.125  # of the logits, as in the paper: the head learns as fast as the rest at its high rates

    def __init__(self, in_channels: int, num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.stem = ConvBNReLU(in_channels, width)
        self.stages = nn.Sequential(
            _halving(width, 2 * width),
            ResidualBlock(2 * width),
            _halving(2 * width, 4 * width),
            _halving(4 * width, 8 * width),
            ResidualBlock(8 * width),
        )
        self.head = nn.Linear(8 * width, num_classes, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """B x C x H x W, any size -> logits B x num_classes."""
        return self.scale * self.head(self.features(image).amax(dim=(2, 3)))

    def features(self, image: Tensor) -> Tensor:
        """The map before the maximum, B x (8 x width) x H / 8 x W / 8, for modeling/backbones.py."""
        return self.stages(self.stem(image))


def _halving(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Sequential(ConvBNReLU(in_channels, out_channels), nn.MaxPool2d(2, ceil_mode=True))


@MODELS.register("resnet9")
def resnet9(*, in_channels: int, num_classes: int) -> nn.Module:
    """For three channels and ten classes 6,573,120 parameters."""
    return ResNet9(in_channels, num_classes)
