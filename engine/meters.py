"""Averages that stay on the device: added up every step, read (which waits for the device) every LOG_PERIOD steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine import distributed


class MeanMeter:
    """Sample-weighted means of named scalars.

    Sums are kept in float64 on CPU and CUDA (float32 on MPS, which has no float64); a mean over ranks is a sum of
    sums over a sum of counts, never a mean of means.
    """

    def __init__(self, device: torch.device) -> None:
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._device = device
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, values: dict[str, Tensor], count: int) -> None:
        """Adds each scalar, a mean over `count` samples, without waiting for the device."""
        if count == 0:
            return
        for name, value in values.items():
            total = self._sums.get(name)
            if total is None:
                self._sums[name] = value.detach().to(self._dtype) * count
            else:
                total.add_(value.detach(), alpha=count)
        self._count += count

    def read(self) -> dict[str, float]:
        """The means since the last `reset`, over all ranks (empty where nothing was added). Waits for the device."""
        names = sorted(self._sums)
        if not names and distributed.world_size() == 1:
            return {}
        count = torch.tensor(float(self._count), dtype=self._dtype, device=self._device)
        packed = distributed.all_reduce_sum(torch.stack([count, *(self._sums[name] for name in names)]))
        total, *sums = packed.tolist()
        return {name: value / total for name, value in zip(names, sums, strict=True)} if total else {}

    def reset(self) -> None:
        """Starts anew."""
        self._sums.clear()
        self._count = 0

    def state_dict(self) -> dict[str, Any]:
        """What was added since the last `reset`: a resumed run logs the same means."""
        return {"sums": {name: value.cpu() for name, value in self._sums.items()}, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        self._sums = {name: value.to(self._device) for name, value in state["sums"].items()}
        self._count = state["count"]
