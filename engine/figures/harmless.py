"""Pictures are beside the point of a run: none that fails may end it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

LOG = logging.getLogger("fieldbook.engine")


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Within, an error is a warning that `what` is missing."""
    try:
        yield
    except Exception as error:  # of matplotlib, of fonts, of a full disk: whatever it is, the training is worth more
        LOG.warning("%s could not be drawn (%s: %s); all else goes on", what, type(error).__name__, error)
