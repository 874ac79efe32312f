"""Copies of a run's record in other trackers (W&B, MLflow, Trackio), one file a tracker.

A mirror of your own is a file in this folder that registers a subclass of `Mirror` and a line in MIRRORS of the YAML. It
reads what the run writes into its folder, in a process of its own: whatever it does, the training does not notice.
"""

from tracking.mirrors.base import Mirror, RunFacts
from utils.registry import Registry

MIRRORS = Registry("mirror", "tracking.mirrors")

__all__ = ["MIRRORS", "Mirror", "RunFacts"]
