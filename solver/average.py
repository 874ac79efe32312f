"""What averages of weights have in common: a second set of weights that can be swapped in and out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import UserError
from utils.states import differences, local


class WeightAverage:
    """An average of a module's weights; its state when this is made is the first average.

    Someone calls `update()` after each step and `swap()` around each evaluation; what becomes of the average in between
    is up to the subclass.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._average = {name: value.detach().clone() for name, value in module.state_dict().items()}

    def update(self) -> None:
        """After each optimizer step."""

    @contextmanager
    def swap(self) -> Iterator[None]:
        """Within, the module has the averaged weights; afterwards its own, whatever happened."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def state_dict(self) -> dict[str, Any]:
        """The averages."""
        return {"average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`, on the module's device.

        Raises:
            UserError: it is the average of other weights.
        """
        average: dict[str, Tensor] = state["average"]
        differs = differences(self._average, average)
        if differs:
            raise UserError(f"the average of the weights in the checkpoint does not fit: {differs}")
        for name, value in average.items():
            self._average[name].copy_(value)

    @torch.no_grad()
    def _move(self, share: float) -> None:
        """Moves the average by `share` of the way to the weights as they are now; whole numbers are taken over."""
        averages, values = [], []
        for name, value in self.module.state_dict().items():
            if value.is_floating_point():
                averages.append(local(self._average[name]))
                values.append(local(value))
            else:
                self._average[name].copy_(value)  # counters of batch normalisation
        torch._foreach_lerp_(averages, values, share)

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, value in self.module.state_dict().items():
            kept = value.clone()
            value.copy_(self._average[name])
            self._average[name].copy_(kept)
