"""TensorBoard's files: every scalar that is logged, and one batch as the model sees it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.hooks.base import Hook

if TYPE_CHECKING:
    from engine.trainer import Trainer


class TensorBoardHook(Hook):
    """Writes event files into `folder`; after a resume, what lies beyond the restored step is purged from view."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None

    def before_train(self, trainer: Trainer) -> None:
        """Opens the writer and listens."""
        self._open(trainer)
        trainer.listeners.append(self._write)
        if trainer.step == 0:
            self._write_images(trainer)

    def after_rollback(self, trainer: Trainer) -> None:
        """Purges what lies beyond the step gone back to."""
        self._writer.close()
        self._open(trainer)

    def after_train(self, trainer: Trainer) -> None:
        """Flushes and closes."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, trainer: Trainer) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        self._writer = SummaryWriter(str(self.folder), purge_step=trainer.step + 1 if trainer.step else None)

    def _write(self, step: int, row: dict[str, float]) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, step)

    def _write_images(self, trainer: Trainer) -> None:
        trainer.loader.set_position(0, 0)
        images = next((batch["image"][:32] for batch in trainer.loader if "image" in batch), torch.empty(0))
        if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[-1] > 1:
            self._writer.add_images("train/batch", images, 0)
