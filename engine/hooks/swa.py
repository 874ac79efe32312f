"""Takes the weights at the ends of the last epochs into their average."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.hooks.base import Hook
from solver import ModelSWA

if TYPE_CHECKING:
    from engine.trainer import Trainer


class SWAHook(Hook):
    """Collects at the ends of the last `epochs` epochs, before they are validated. The state lies in the average itself."""

    def __init__(self, average: ModelSWA, epochs: int) -> None:
        self.average, self.epochs = average, epochs

    def after_epoch(self, trainer: Trainer) -> None:
        """Takes this epoch in, if it is one of the last."""
        first = trainer.max_epochs - self.epochs + 1
        if trainer.epoch >= first and trainer.epoch not in self.average.epochs:  # it is, where its end happens once more
            self.average.collect(trainer.epoch, first)
