"""Small reusable modules."""

from layers.conv_layer import ConvBNReLU
from layers.residual import BasicBlock

__all__ = ["BasicBlock", "ConvBNReLU"]
