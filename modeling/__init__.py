"""Models and losses. `cfg` is read in build.py only."""

from modeling.build import build_loss, build_model
from modeling.weights import LoadReport, load_state_file, load_weights

__all__ = ["LoadReport", "build_loss", "build_model", "load_state_file", "load_weights"]
