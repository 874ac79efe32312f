"""The residual networks for CIFAR (He et al., Deep Residual Learning for Image Recognition, 2015, section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn

from layers import BasicBlock, ConvBNReLU, drop_path_rates
from modeling.models import MODELS


class ResNetCIFAR(nn.Module):
    """A stem and three stages of `blocks` basic blocks with 16, 32 and 64 channels: 6 x blocks + 2 layers.

    With 3 channels and 10 classes, `blocks` 3 (resnet20) has 269,722 parameters. `drop_path` is the stochastic-depth rate of
    the last block.
    """

    def __init__(self, in_channels: int, num_classes: int, blocks: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.stem = ConvBNReLU(in_channels, 16)
        rates = iter(drop_path_rates(drop_path, 3 * blocks))
        stages: list[nn.Module] = []
        for before, after, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
            stages.append(BasicBlock(before, after, stride, next(rates)))
            stages += [BasicBlock(after, after, drop_path=next(rates)) for _ in range(blocks - 1)]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """B x C x H x W (32 x 32 in the paper) -> logits B x num_classes."""
        return self.head(self.features(image).mean(dim=(2, 3)))

    def features(self, image: Tensor) -> Tensor:
        """The map before the mean, B x 64 x H / 4 x W / 4: what makes the model a backbone (modeling/backbones.py)."""
        return self.stages(self.stem(image))


@MODELS.register("resnet20")
def resnet20(*, in_channels: int, num_classes: int, drop_path: float = 0.0) -> nn.Module:
    """Three blocks a stage, 0.27 million parameters."""
    return ResNetCIFAR(in_channels, num_classes, 3, drop_path)


@MODELS.register("resnet32")
def resnet32(*, in_channels: int, num_classes: int, drop_path: float = 0.0) -> nn.Module:
    """Five blocks a stage, 0.46 million parameters."""
    return ResNetCIFAR(in_channels, num_classes, 5, drop_path)


@MODELS.register("resnet44")
def resnet44(*, in_channels: int, num_classes: int, drop_path: float = 0.0) -> nn.Module:
    """Seven blocks a stage, 0.66 million parameters."""
    return ResNetCIFAR(in_channels, num_classes, 7, drop_path)


@MODELS.register("resnet56")
def resnet56(*, in_channels: int, num_classes: int, drop_path: float = 0.0) -> nn.Module:
    """Nine blocks a stage, 0.85 million parameters."""
    return ResNetCIFAR(in_channels, num_classes, 9, drop_path)


@MODELS.register("resnet110")
def resnet110(*, in_channels: int, num_classes: int, drop_path: float = 0.0) -> nn.Module:
    """Eighteen blocks a stage, 1.7 million parameters."""
    return ResNetCIFAR(in_channels, num_classes, 18, drop_path)
