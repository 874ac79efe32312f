"""Averages that stay on the device until they are read, which waits for it, and that are exact over ranks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine import distributed
from utils.errors import RunFailed


class MeanMeter:
    """Sample-weighted means of named scalars, added up every step and read every LOG_PERIOD steps. One that only some steps
    have is the mean over their samples.

    Sums are kept in float64 on CPU and CUDA (float32 on MPS, which has no float64); a mean over ranks is a sum of
    sums over a sum of counts, never a mean of means.
    """

    def __init__(self, device: torch.device) -> None:
        self._dtype = sum_dtype(device)
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._missed: dict[str, int] = {}  # samples that lack a name, where there are some
        self._count = 0

    def add(self, values: dict[str, Tensor], count: int) -> None:
        """Adds each scalar, a mean over `count` samples, without waiting for the device."""
        if count == 0:
            return
        for name, value in values.items():
            total = self._sums.get(name)
            if total is None:
                self._sums[name] = value.detach().to(self._dtype) * count
                self._missed[name] = self._count
            else:
                total.add_(value.detach(), alpha=count)
        if len(values) < len(self._sums):
            for name in self._sums.keys() - values.keys():
                self._missed[name] += count
        self._count += count

    def read(self) -> dict[str, float]:
        """The means since the last `reset`, over all ranks (empty where nothing was added). Waits for the device.

        Raises:
            RunFailed: the ranks added different names.
        """
        names = agreed_names(list(self._sums), self._count)
        if not names:
            return {}
        zero = torch.zeros((), dtype=self._dtype, device=self._device)
        sums = torch.stack([self._sums.get(name, zero) for name in names])
        counts = sums.new_tensor([self._count - self._missed.get(name, 0) for name in names])
        means = zip(names, *distributed.all_reduce_sum(torch.stack([sums, counts])).tolist(), strict=True)
        return {name: total / count for name, total, count in means}

    def reset(self) -> None:
        """Starts anew."""
        self._sums.clear()
        self._missed.clear()
        self._count = 0

    def state_dict(self) -> dict[str, Any]:
        """What was added since the last `reset`, by all ranks: a resumed run logs the same means. All ranks must ask."""
        sums = {name: value.tolist() for name, value in self._sums.items()}
        own = {"sums": sums, "count": self._count, "missed": dict(self._missed)}
        return {"ranks": distributed.gather(own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`; what ranks that are no more had added goes to rank 0."""
        self.reset()
        rank, size = distributed.rank(), distributed.world_size()
        counts: Counter[str] = Counter()
        for number, theirs in enumerate(state["ranks"]):
            if number == rank or (rank == 0 and number >= size):
                self._count += theirs["count"]
                for name, value in theirs["sums"].items():
                    more = torch.tensor(value, dtype=self._dtype, device=self._device)
                    self._sums[name] = self._sums[name] + more if name in self._sums else more
                    counts[name] += theirs["count"] - theirs.get("missed", {}).get(name, 0)
        self._missed = {name: self._count - count for name, count in counts.items()}


class ExactMeans:
    """Sample-weighted means over the batches of an evaluation: the same digits for any number of ranks. One that only some
    batches have is the mean over their samples."""

    def __init__(self, device: torch.device) -> None:
        self._dtype = sum_dtype(device)
        self._values: dict[str, list[tuple[Tensor, int]]] = {}
        self._count = 0

    def add(self, values: dict[str, Tensor], count: int) -> None:
        """Adds each scalar, a mean over `count` samples of one batch, without waiting for the device."""
        for name, value in values.items():
            self._values.setdefault(name, []).append((value, count))
        self._count += count

    def read(self) -> dict[str, float]:
        """The means, over all ranks; empty where nothing was added.

        Raises:
            RunFailed: the ranks added different names.
        """
        means = {}
        for name in agreed_names(list(self._values), self._count):
            own = self._values.get(name, [])
            numbers = torch.stack([value for value, _ in own]).to(self._dtype).tolist() if own else []
            total, samples = exact_sums([(n * count, count) for n, (_, count) in zip(numbers, own, strict=True)])
            means[name] = total / samples
        return means


def sum_dtype(device: torch.device) -> torch.dtype:
    """What sums are kept in."""
    return torch.float32 if device.type == "mps" else torch.float64


def exact_sums(own: Sequence[Sequence[float]]) -> list[float]:
    """The sums of equally long rows over all ranks, whatever their order and distribution: each column is added
    without rounding in between (math.fsum; Shewchuk 1997). Empty where no rank has any."""
    rows = [row for rank in distributed.gather(list(own)) for row in rank]
    return [math.fsum(column) for column in zip(*rows, strict=True)]


def agreed_names(names: list[str], count: int) -> list[str]:
    """What all ranks log, in the order of the first that has samples; a rank without samples (`count` 0) has no say.

    Raises:
        RunFailed: one rank has other names. Without this the ranks would wait for each other until the time-out.
    """
    if distributed.world_size() == 1:
        return names
    found = [(rank, theirs) for rank, (theirs, n) in enumerate(distributed.gather((names, count))) if n]
    for rank, theirs in found:
        more, less = sorted(set(theirs) - set(found[0][1])), sorted(set(found[0][1]) - set(theirs))
        if more or less:
            what = f"logs {', '.join(more)}" if more else f"does not log {', '.join(less)}"
            raise RunFailed(f"rank {rank} {what}, unlike rank {found[0][0]}: every rank must log the same names in each step")
    return found[0][1] if found else []
