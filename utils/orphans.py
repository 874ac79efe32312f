"""No process outlives the one that started it: helpers end with their parent, ranks with their launcher."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time

from utils import interrupts

LOG = logging.getLogger("fieldbook.utils")
PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
LOOK = 0.5  # seconds between two looks for the launcher
GRACE = 8.0  # seconds that a rank has for its last checkpoint when its launcher is gone


def end_with(parent: int) -> None:
    """The kernel kills this process when the thread that started it ends; Linux only, elsewhere nothing happens.

    Args:
        parent: its process; had it ended before this call, nobody would notice.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def follow_launcher() -> None:
    """For a rank that torchrun started: when torchrun is gone, the rank stops as at SIGTERM, and ends after GRACE seconds
    whatever it does. All ranks of a host see it go, so they can agree on a step and save."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        threading.Thread(target=_follow, args=(os.getppid(),), name="launcher", daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    LOG.warning("the launcher is gone: this rank saves and ends within %g s", GRACE)
    if not interrupts.received():
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)
