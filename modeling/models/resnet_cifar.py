"""The residual networks for CIFAR (He et al., Deep Residual Learning for Image Recognition, 2015, section 4.2)."""

from __future__ import annotations

from torch import Tensor, nn

from layers import BasicBlock, ConvBNReLU
from modeling.models import MODELS


class ResNetCIFAR(nn.Module):
    """A stem and three stages of `blocks` basic blocks with 16, 32 and 64 channels: 6 x blocks + 2 layers.

    With 3 channels and 10 classes, `blocks` 3 (resnet20) has 269,722 parameters.
    """

    def __init__(self, in_channels: int, num_classes: int, blocks: int) -> None:
        super().__init__()
        self.stem = ConvBNReLU(in_channels, 16)
        stages: list[nn.Module] = []
        for before, after, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
            stages.append(BasicBlock(before, after, stride))
            stages += [BasicBlock(after, after) for _ in range(blocks - 1)]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        """B x C x H x W (32 x 32 in the paper) -> logits B x num_classes."""
        return self.head(self.stages(self.stem(image)).mean(dim=(2, 3)))


@MODELS.register("resnet20")
def resnet20(*, in_channels: int, num_classes: int) -> nn.Module:
    """Three blocks a stage, 0.27 million parameters."""
    return ResNetCIFAR(in_channels, num_classes, blocks=3)
