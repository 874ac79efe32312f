"""The question why a run is started, where nobody said it."""

from __future__ import annotations

import os
import select
import sys
from typing import Any

from tracking.reading.configs import changes, read_config, read_origins
from tracking.record import Record
from tracking.wording import changed


def ask_why(config: dict[str, Any], origins: dict[str, str], parent: Record | None) -> str:
    """Asks once, on a terminal and alone only; Enter or 60 s skip it. It is never forced.

    Args:
        config, origins: of the run to be, dotted key -> value, and where that came from.
        parent: the run that it is compared with.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("WORLD_SIZE", "1") != "1":
        return ""
    if parent is not None:
        pairs = changes(config, read_config(parent.path), lambda: (origins, read_origins(parent.path)))
        print(f"Changed since {parent.id}: {changed(pairs, 6) or 'no key'}")
    print("What is this run meant to find out? (Enter to skip) ", end="", flush=True)
    ready, _, _ = select.select([sys.stdin], [], [], 60)
    return sys.stdin.readline().strip() if ready else ""
