"""From files to batches. `cfg` is read in the files called build.py only."""

from data.build import Splits, build_prepare, build_splits, make_data_loader
from data.dataset import Dataset, summary
from data.transforms.build import channels_seen

__all__ = ["Dataset", "Splits", "build_prepare", "build_splits", "channels_seen", "make_data_loader", "summary"]
