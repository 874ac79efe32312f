"""Small reusable modules."""

from layers.conv_layer import ConvBNReLU
from layers.drop_path import DropPath, drop_path_rates
from layers.residual import BasicBlock

__all__ = ["BasicBlock", "ConvBNReLU", "DropPath", "drop_path_rates"]
