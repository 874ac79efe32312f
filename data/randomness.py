"""Position determines randomness: a generator is a function of (seed, what for, epoch, position) and of nothing else."""

from __future__ import annotations

import numpy

ORDER, SAMPLE, BATCH = 1, 2, 3  # what a stream of numbers is for


def generator(seed: int, purpose: int, epoch: int, position: int = 0) -> numpy.random.Generator:
    """A counter-based generator (Philox; Salmon et al., SC 2011): cheap to make anywhere, in any worker."""
    return numpy.random.Generator(numpy.random.Philox(key=[seed, (purpose << 56) | (epoch << 32) | position]))
