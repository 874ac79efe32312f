"""Exponential moving average of the weights: evaluated instead of the raw ones, which go on training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class ModelEMA:
    """Average of a module's floating-point parameters and buffers (Polyak and Juditsky, 1992).

    Args:
        module: what is averaged; its state at this moment is the first average.
        decay: 0 to 1; in the first updates n it is at most (1 + n) / (10 + n), so that a short run is not its start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay, self.updates = module, decay, 0
        self._average = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the weights as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages, values = [], []
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                averages.append(self._average[name])
                values.append(value)
            else:
                self._average[name].copy_(value)  # counters of batch normalisation
        torch._foreach_lerp_(averages, values, 1 - decay)

    @contextmanager
    def swap(self) -> Iterator[None]:
        """Within, the module has the averaged weights; afterwards its own, whatever happened."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, value in self.module.state_dict().items():
            kept = value.clone()
            value.copy_(self._average[name])
            self._average[name].copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """The averages and the counter."""
        return {"updates": self.updates, "average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`, on the module's device."""
        self.updates = state["updates"]
        average: dict[str, Tensor] = state["average"]
        for name, value in average.items():
            self._average[name].copy_(value)
