"""Position determines randomness: a generator is a function of (seed, what for, epoch, position) and of nothing else."""

from __future__ import annotations

from typing import Any

import numpy
from numpy.random.bit_generator import ISeedSequence

ORDER, SAMPLE, BATCH = 1, 2, 3  # what a stream of numbers is for
_WORD = numpy.uint64


def generator(seed: int, purpose: int, epoch: int, position: int = 0) -> numpy.random.Generator:
    """A counter-based generator (Philox; Salmon et al., SC 2011): cheap to make anywhere, in any worker."""
    key = _Key(seed, (purpose << 56) | (epoch << 32) | position)
    return numpy.random.Generator(numpy.random.Philox(key))  # type: ignore[arg-type]  # NumPy takes any ISeedSequence


class _Key(ISeedSequence):
    """The two words of a Philox key. `Philox(key=...)` would ask the system for entropy first, and not use it."""

    def __init__(self, *words: int) -> None:
        self.words = words

    def generate_state(self, n_words: int, dtype: Any = numpy.uint32) -> numpy.ndarray:
        """The words themselves; Philox asks for two of 64 bits."""
        return numpy.array(self.words, _WORD)


def first_draws(seed: int, purpose: int, epoch: int, positions: numpy.ndarray) -> numpy.ndarray:
    """The first four 64-bit numbers of the `generator` of each of N positions, as 4 x N uint64: all of them at once, where
    making N generators would cost more than what the numbers are for."""
    # What is equal for all positions is one number until it meets one that is not.
    keys = [numpy.array([seed], _WORD), _WORD((purpose << 56) | (epoch << 32)) | positions.astype(_WORD)]
    counter = [numpy.array([first], _WORD) for first in (1, 0, 0, 0)]
    for _ in range(10):
        high0, low0 = _multiplied(0xD2E7470EE14C6C93, counter[0])
        high1, low1 = _multiplied(0xCA5A826395121157, counter[2])
        counter = [high1 ^ counter[1] ^ keys[0], low1, high0 ^ counter[3] ^ keys[1], low0]
        keys = [keys[0] + _WORD(0x9E3779B97F4A7C15), keys[1] + _WORD(0xBB67AE8584CAA73B)]
    return numpy.stack(counter)


def _multiplied(factor: int, words: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The high and the low 64 bits of products of 64-bit numbers, by halves."""
    half, low_half = _WORD(32), _WORD(0xFFFFFFFF)
    factor_high, factor_low = _WORD(factor >> 32), _WORD(factor & 0xFFFFFFFF)
    high, low = words >> half, words & low_half
    carried = factor_low * low
    carried >>= half
    low *= factor_high
    low += carried  # cannot overflow
    numpy.bitwise_and(low, low_half, out=carried)
    carried += factor_low * high
    carried >>= half
    low >>= half
    high *= factor_high
    high += low
    high += carried
    return high, _WORD(factor) * words
