"""Memory for batches that is used again: asking the system for fresh memory costs more than filling it."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence

import numpy
import torch
from torch import Tensor


class Buffers:
    """Gives tensors; their memory is given again only when nobody holds them, nor a view of them, any more.

    That is known from the reference count of the array below them: a tensor made of an array holds it.

    Args:
        most: how many arrays are kept at the most.
    """

    def __init__(self, dtype: type[numpy.generic], most: int = 8) -> None:
        self.dtype, self.most = dtype, most
        self._kept: list[tuple[numpy.ndarray, int]] = []  # array, and the first element that lies at the head of a cache line
        self._lock = threading.Lock()

    def take(self, shape: Sequence[int]) -> Tensor:
        """A tensor of that shape; what is in it is left over from before."""
        size, small = math.prod(shape), None
        with self._lock:
            for number in range(len(self._kept)):
                if sys.getrefcount(self._kept[number][0]) == ALONE:
                    array, first = self._kept[number]
                    if len(array) >= first + size:
                        break
                    small = number if small is None else small
                    del array
            else:
                array, first = self._new(size, small)
            return torch.from_numpy(array[first : first + size].reshape(shape))

    def _new(self, size: int, small: int | None) -> tuple[numpy.ndarray, int]:
        """One of that size, which takes the place of the one that is too small, or else of the oldest where there are many."""
        if small is not None:
            del self._kept[small]
        items = LINE // numpy.dtype(self.dtype).itemsize
        array = numpy.empty(size + items, dtype=self.dtype)
        first = -array.ctypes.data % LINE // array.itemsize
        self._kept = [*self._kept, (array, first)][-self.most :]
        return self._kept[-1]


LINE = 64  # bytes of a cache line: where vectors straddle two, arithmetic in memory takes half as long again
_SINGLE = [(numpy.empty(1), 0)]
ALONE = sys.getrefcount(_SINGLE[0][0])  # of an array that only its list holds, as this version of Python counts
