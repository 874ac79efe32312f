"""Ends the first stage of a fine-tuning: what was frozen trains from now on."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from engine.hooks.base import Hook
from modeling.freezing import Freezing

if TYPE_CHECKING:
    from engine.trainer import Trainer

LOG = logging.getLogger("fieldbook.engine")


class ThawHook(Hook):
    """Lifts `freezing` before the first epoch that follows `epochs` epochs. It has no state: the epoch says it all.

    Args:
        wrap: what wraps the task for training. It is called anew, because DDP asks once, when it is made, which parameters
            have gradients to exchange.
    """

    def __init__(self, freezing: Freezing, epochs: int, wrap: Callable[[], nn.Module]) -> None:
        self.freezing, self.epochs, self.wrap = freezing, epochs, wrap
        self.frozen = True

    def before_epoch(self, trainer: Trainer) -> None:
        """Thaws, when it is time; after a resume, it may have been before."""
        if not self.frozen or trainer.epoch < self.epochs:
            return
        self.freezing.lift()
        self._wrap_anew(trainer, frozen=False)
        LOG.info("epoch %d: %s frozen weights train from now on", trainer.epoch + 1, f"{len(self.freezing):,}")

    def after_rollback(self, trainer: Trainer) -> None:
        """Freezes again, where it went back to an epoch in which that was so."""
        if not self.frozen and trainer.epoch < self.epochs:
            self.freezing.apply()
            self._wrap_anew(trainer, frozen=True)

    def _wrap_anew(self, trainer: Trainer, frozen: bool) -> None:
        self.frozen = frozen
        trainer.task.still = self.freezing.norms if frozen else ()
        trainer.wrapped = trainer.task
        gc.collect()  # the old wrapper takes its hooks off the parameters when it goes
        trainer.wrapped = self.wrap()
