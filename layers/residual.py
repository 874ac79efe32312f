"""The basic residual block (He et al., Deep Residual Learning for Image Recognition, 2015)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from layers.conv_layer import ConvBNReLU
from layers.drop_path import DropPath


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut without parameters.

    Where the shape changes, the shortcut takes every `stride`-th pixel and pads new channels with zeros: the paper's
    option A, which its CIFAR networks use. In training the convolutions are left out with probability `drop_path`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, drop_path: float = 0.0) -> None:
        super().__init__()
        self.first = ConvBNReLU(in_channels, out_channels, stride=stride)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.drop_path = DropPath(drop_path)
        self.stride, self.new_channels = stride, out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """B x in_channels x H x W -> B x out_channels x H/stride x W/stride."""
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:
            front = self.new_channels // 2
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, front, self.new_channels - front))
        return functional.relu(self.drop_path(self.norm(self.conv(self.first(x)))) + shortcut)
