"""Starting threads that compute on one core each."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import torch

from utils import interrupts
from utils.errors import UserError


@contextlib.contextmanager
def one_core_each(threads: int, remedy: str) -> Iterator[Callable[[], None]]:
    """Within, so many threads are started, each of which first calls what this gives. On the way out they are waited for.

    torch is told within each thread, which also sets what later threads begin with: that is set back when all have begun.
    Threads begin with the signals held, and so these come to the main thread.

    Args:
        remedy: what helps where the system allows fewer threads.

    Raises:
        UserError: it does. None of those that have begun waits for the others then.
    """
    cores, begun = torch.get_num_threads(), threading.Barrier(threads + 1)

    def begin() -> None:
        torch.set_num_threads(1)
        with contextlib.suppress(threading.BrokenBarrierError):
            begun.wait()

    try:
        with interrupts.held():
            yield begin
            begun.wait()
    except BaseException as error:
        begun.abort()
        if isinstance(error, RuntimeError):
            raise UserError(f"the system allows no {threads} threads more ({error}); {remedy}") from error
        raise
    finally:
        torch.set_num_threads(cores)
