"""Convolution, batch normalisation, ReLU: the brick of most image models."""

from __future__ import annotations

from torch import nn


class ConvBNReLU(nn.Sequential):
    """B x in_channels x H x W -> B x out_channels x H/stride x W/stride; `kernel` is odd, the padding keeps the size."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )
