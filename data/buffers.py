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
        self._arrays: list[numpy.ndarray] = []
        self._lock = threading.Lock()

    def take(self, shape: Sequence[int]) -> Tensor:
        """A tensor of that shape; what is in it is left over from before."""
        size, small = math.prod(shape), None
        with self._lock:
            for number in range(len(self._arrays)):
                if sys.getrefcount(self._arrays[number]) == ALONE:
                    if len(self._arrays[number]) >= size:
                        array = self._arrays[number]
                        break
                    small = number if small is None else small
            else:
                array = self._new(size, small)
            return torch.from_numpy(array[:size].reshape(shape))

    def _new(self, size: int, small: int | None) -> numpy.ndarray:
        """One of that size, which takes the place of the one that is too small, or else of the oldest where there are many."""
        if small is not None:
            del self._arrays[small]
        self._arrays = [*self._arrays, numpy.empty(size, dtype=self.dtype)][-self.most :]
        return self._arrays[-1]


_SINGLE = [numpy.empty(1)]
ALONE = sys.getrefcount(_SINGLE[0])  # of an array that only its list holds, as this version of Python counts
