"""Memory that a thread uses again for each file: fresh memory is slow."""

from __future__ import annotations

import threading

import numpy

MOST = 16_000_000  # bytes up to which it is kept
_threads = threading.local()


def scratch(use: str, size: int) -> numpy.ndarray:
    """The calling thread's own memory for that `use`, at least `size` bytes; fresh where so much should not be kept."""
    if size > MOST:
        return numpy.empty(size, dtype=numpy.uint8)
    memory: numpy.ndarray | None = getattr(_threads, use, None)
    if memory is None or len(memory) < size:
        memory = numpy.empty(size, dtype=numpy.uint8)
        setattr(_threads, use, memory)
    return memory


def in_scratch(address: int) -> bool:
    """Whether it lies in memory that the calling thread uses again."""
    return any(0 <= address - memory.ctypes.data < len(memory) for memory in vars(_threads).values())
