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
            free = [number for number in range(len(self._arrays)) if _holders(self._arrays, number) == ALONE]
            chosen = next((number for number in free if len(self._arrays[number]) >= size), None)
            if chosen is None:
                for number in free[:1]:  # too small
                    del self._arrays[number]
                self._arrays = [*self._arrays, numpy.empty(size, dtype=self.dtype)][-self.most :]
                chosen = len(self._arrays) - 1
            return torch.from_numpy(self._arrays[chosen][:size]).view(*shape)


def _holders(arrays: list[numpy.ndarray], number: int) -> int:
    return sys.getrefcount(arrays[number])


ALONE = _holders([numpy.empty(1)], 0)  # of an array that only its list holds, as this version of Python counts
