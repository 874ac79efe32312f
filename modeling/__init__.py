"""Models and losses. `cfg` is read in build.py only."""

from modeling.blocks import layer_depths
from modeling.build import build_loss, build_model
from modeling.freezing import Freezing
from modeling.weights import LoadReport, load_state_file, load_weights

__all__ = ["Freezing", "LoadReport", "build_loss", "build_model", "layer_depths", "load_state_file", "load_weights"]
