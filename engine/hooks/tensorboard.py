"""TensorBoard's files: every scalar that is logged, and pictures."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from engine.hooks.base import Hook

if TYPE_CHECKING:
    from engine.trainer import Trainer

LOG = logging.getLogger("fieldbook.engine")


class TensorBoardHook(Hook):
    """Writes event files into `folder`; after a resume, what lies beyond the restored step is purged from view.

    When they cannot be written (a full disk), that is said once and the training goes on without them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._thread_hook = threading.excepthook
        self._writer: Any = None

    def before_train(self, trainer: Trainer) -> None:
        """Opens the writer and listens."""
        threading.excepthook = self._on_thread
        self._open(trainer)
        trainer.listeners.append(self._write)

    def after_rollback(self, trainer: Trainer) -> None:
        """Purges what lies beyond the step gone back to."""
        with self._or_without():
            if self._writer is not None:
                self._writer.close()
                self._open(trainer)

    def after_train(self, trainer: Trainer) -> None:
        """Flushes and closes."""
        with self._or_without():
            if self._writer is not None:
                self._writer.close()
        threading.excepthook = self._thread_hook

    def _open(self, trainer: Trainer) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        with self._or_without():
            self._writer = SummaryWriter(str(self.folder), purge_step=trainer.step + 1 if trainer.step else None)

    def _write(self, step: int, row: dict[str, float]) -> None:
        with self._or_without():
            for name, value in row.items() if self._writer is not None else ():
                self._writer.add_scalar(name, value, step)

    def add_images(self, name: str, images: Tensor) -> None:
        """N x C x H x W uint8, as one picture."""
        with self._or_without():
            if self._writer is not None:
                self._writer.add_images(name, images, 0)

    @contextmanager
    def _or_without(self) -> Iterator[None]:
        """Within, an error of the file system ends the event files, not the training."""
        try:
            yield
        except OSError as error:
            self._writer = None
            LOG.warning("%s: no more TensorBoard files (%s); the training goes on", self.folder, error.strerror or error)

    def _on_thread(self, args: Any) -> None:
        """The writer's own thread dies of the same error, with a traceback that would say nothing more."""
        if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard")):
            self._thread_hook(args)


def add_pictures(folder: Path, pictures: list[Path], step: int) -> None:
    """Appends PNG files as they are to the event files in `folder`, each under figures/<its name>.

    Args:
        step: the optimizer step they belong to.
    """
    from tensorboard.compat.proto.event_pb2 import Event  # slow to import
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder), filename_suffix=".figures")
    for path in pictures:
        image = Summary.Image(encoded_image_string=path.read_bytes())
        summary = Summary(value=[Summary.Value(tag=f"figures/{path.stem}", image=image)])
        writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    writer.close()
