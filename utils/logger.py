"""One logger for the project: to the screen (stderr) and, within a run, to the run's log.txt."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from utils.redact import redact

LOGGER = "fieldbook"


class _LineFormatter(logging.Formatter):
    """`12:30:05 message`; the level is named only where it matters, so that WARNING stands out."""

    def format(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        record.levelmark = level
        return redact(super().format(record))


class _Screen(logging.Handler):
    """Writes to whatever `sys.stderr` is at the moment: a progress bar puts itself in between."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line, at once."""
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # as logging's own handlers do: a broken terminal never ends a training
            self.handleError(record)


class _Early(logging.Handler):
    """Keeps what is said before there is a run, for its log.txt."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Where no run ever begins nobody asks for them."""
        self.records.append(record)


class _RunLog(logging.FileHandler):
    """A run's log.txt. That its disk is full is said once, on the screen, and ends no training."""

    _said = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Called by logging while the error is being handled."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._said:
            self._said = True
            with contextlib.suppress(OSError):
                sys.stderr.write(f"WARNING {self.baseFilename}: lines may be lost ({error.strerror})\n")


def setup_logger() -> logging.Logger:
    """The project's logger; of ranks other than 0 nothing but warnings reaches the terminal."""
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for other in [h for h in logger.handlers if not isinstance(h, logging.FileHandler)]:
        logger.removeHandler(other)
    handler = _Screen()
    handler.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.WARNING)
    handler.setFormatter(_LineFormatter("%(levelmark)s%(message)s"))
    logger.addHandler(handler)
    logger.addHandler(_Early())
    return logger


@contextlib.contextmanager
def log_file(path: Path | str) -> Iterator[None]:
    """Within, all that is logged is appended to `path`, and first what was said since `setup_logger`. Each line is flushed,
    so a killed run keeps its log."""
    handler = _RunLog(path, mode="a", encoding="utf-8")
    handler.setFormatter(_LineFormatter("%(asctime)s %(levelmark)s%(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger(LOGGER)
    for early in [h for h in logger.handlers if isinstance(h, _Early)]:
        logger.removeHandler(early)
        for record in early.records:
            handler.handle(record)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        with contextlib.suppress(OSError):
            handler.close()
