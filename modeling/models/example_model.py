"""The classic template's example: a small residual network for small images. Copy this file to begin your own model."""

from __future__ import annotations

from torch import Tensor, nn

from layers import BasicBlock, ConvBNReLU, drop_path_rates
from modeling.models import MODELS


class ExampleModel(nn.Module):
    """A stem, three residual stages, mean over the image, a linear head.

    Args:
        in_channels: channels of an image.
        num_classes: width of the output.
        width: channels of the first stage; doubled at each further one.
        drop_path: stochastic depth, the rate of the last block.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 32, drop_path: float = 0.0) -> None:
        super().__init__()
        first, second, third = drop_path_rates(drop_path, 3)
        self.stem = ConvBNReLU(in_channels, width)
        self.stages = nn.Sequential(
            BasicBlock(width, width, drop_path=first),
            BasicBlock(width, 2 * width, stride=2, drop_path=second),
            BasicBlock(2 * width, 4 * width, stride=2, drop_path=third),
        )
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """B x C x H x W, any size -> logits B x num_classes."""
        return self.head(self.features(image).mean(dim=(2, 3)))

    def features(self, image: Tensor) -> Tensor:
        """The map before the mean, B x (4 x width) x H / 4 x W / 4: what makes the model a backbone (modeling/backbones.py)."""
        return self.stages(self.stem(image))


@MODELS.register("example_model")
def example_model(*, in_channels: int, num_classes: int, drop_path: float = 0.0, width: int = 32) -> nn.Module:
    """The example model; MODEL.ARGS {width: 64} makes it wider."""
    return ExampleModel(in_channels, num_classes, width, drop_path)
