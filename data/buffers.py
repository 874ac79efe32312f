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
        size = math.prod(shape)
        with self._lock:
            array = self._array(size)
            return torch.from_numpy(array if len(array) == size else array[:size]).view(shape)

    def _array(self, size: int) -> numpy.ndarray:
        """One of that size at least; a new one takes the place of one that is too small."""
        small = None
        for number in range(len(self._arrays)):
            if _holders(self._arrays, number) == ALONE:
                if len(self._arrays[number]) >= size:
                    return self._arrays[number]
                small = number if small is None else small
        if small is not None:
            del self._arrays[small]
        self._arrays = [*self._arrays, numpy.empty(size, dtype=self.dtype)][-self.most :]
        return self._arrays[-1]


def _holders(arrays: list[numpy.ndarray], number: int) -> int:
    return sys.getrefcount(arrays[number])


ALONE = _holders([numpy.empty(1)], 0)  # of an array that only its list holds, as this version of Python counts
