"""Items read by threads, a bounded way ahead of whoever uses them; they may become known one after another, without end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from data.one_core import one_core_each

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # batches that are read before they are asked for
PATIENCE = 0.3  # seconds without a further item after which a batch goes on as it is


def read_ahead(
    items: Iterable[Item], read: Callable[[int, Item], Result], *, size: int, threads: int
) -> Generator[list[tuple[Item, Result]], None, None]:
    """Batches of `size` items with what `read(number, item)` gives of each, in order; the last one, and one after which no
    further item comes for a while, have fewer.

    At most AHEAD batches are in memory besides the one in use, however many items there are.

    Raises:
        whatever `items` or `read` raise, where it belongs in the order.
    """
    waiting: queue.Queue[Any] = queue.Queue(maxsize=AHEAD * size)
    stopped = threading.Event()
    pool = _pool(threads)
    feeder = threading.Thread(target=_feed, args=(items, read, pool, waiting, stopped), name="files", daemon=True)
    feeder.start()
    batch: list[tuple[Item, Future[Result]]] = []
    try:
        while True:
            try:
                found = waiting.get(timeout=PATIENCE if batch else None)
            except queue.Empty:
                found = ()
            if isinstance(found, tuple) and found:
                batch.append(found)
                if len(batch) < size:
                    continue
            if batch:
                yield [(item, future.result()) for item, future in batch]
                batch = []
            if isinstance(found, BaseException):
                raise found
            if found is None:
                return
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)


def _feed(items: Iterable[Any], read: Callable[..., Any], pool: ThreadPoolExecutor, waiting: Any, stopped: Any) -> None:
    """Hands each item to the pool; None, or an error, is the last. Ends soon after nobody wants any more, unless `items` hangs:
    then with the process."""
    last: Any = None
    try:
        for number, item in enumerate(items):
            if stopped.is_set():
                return
            _put(waiting, (item, pool.submit(read, number, item)), stopped)
    except BaseException as error:
        last = error
    _put(waiting, last, stopped)


def _put(waiting: Any, found: Any, stopped: Any) -> None:
    while not stopped.is_set():
        try:
            waiting.put(found, timeout=0.2)
            return
        except queue.Full:
            continue


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that are all there already."""
    with one_core_each(threads, "raise `ulimit -u`, or use fewer cores (taskset)") as begin:
        pool = ThreadPoolExecutor(threads, thread_name_prefix="image", initializer=begin)
        for _ in range(threads):  # none has ended its beginning before all are asked for: each gets a thread
            pool.submit(int)
    return pool
