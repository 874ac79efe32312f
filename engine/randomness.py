"""Seeds, and what of randomness has to be remembered.

Position determines randomness (design 3.4): sample order and augmentation are functions of (seed, epoch, position) and
are drawn in `data`. What is left are the global generators (dropout and the like), which this module seeds, saves and
restores.
"""

from __future__ import annotations

import random
from typing import Any

import numpy
import torch

from engine import distributed


def seed_rank(seed: int, rank: int) -> None:
    """From here on each rank draws its own dropout masks; called when the model, equal on all ranks, is built."""
    if rank:
        mixed = numpy.random.SeedSequence([seed, rank]).generate_state(1, numpy.uint64)
        torch.manual_seed(int(mixed[0] >> 1))


def seed_everything(seed: int, deterministic: bool = False) -> None:
    """Seeds the generators of Python, NumPy and torch, and asks torch for deterministic kernels where wanted.

    `deterministic` raises in torch (RuntimeError) when an operation has no deterministic implementation.
    """
    import rich.style  # noqa: F401  draws from Python's generator when it is imported: let that be before

    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


class GlobalGenerators:
    """The states of the global generators of all ranks, as plain types, so that a checkpoint loads with weights_only=True."""

    def state_dict(self) -> dict[str, Any]:
        """Of each rank. All ranks must ask: the states are gathered."""
        return {"ranks": distributed.gather(self._own())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Puts all generators of this rank where they were; a rank that there was not yet keeps its own."""
        if distributed.rank() < len(state["ranks"]):
            self._restore(state["ranks"][distributed.rank()])

    def _own(self) -> dict[str, Any]:
        """State of Python's, NumPy's, torch's CPU and (where there is one) CUDA generators."""
        kind, keys, position, has_gauss, cached = numpy.random.get_state(legacy=True)
        return {
            "python": random.getstate(),
            # NumPy arrays are refused by weights_only loading: a list of ints is not.
            "numpy": [str(kind), [int(k) for k in keys], int(position), int(has_gauss), float(cached)],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        kind, keys, position, has_gauss, cached = state["numpy"]
        numpy.random.set_state((kind, numpy.array(keys, dtype=numpy.uint32), position, has_gauss, cached))
        torch.set_rng_state(state["torch"])
        if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])
