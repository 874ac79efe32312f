"""Exponential moving average of the weights: evaluated instead of the raw ones, which go on training."""

from __future__ import annotations

from typing import Any

from torch import nn

from solver.average import WeightAverage


class ModelEMA(WeightAverage):
    """Average of a module's floating-point parameters and buffers (Polyak and Juditsky, 1992).

    Args:
        module: what is averaged; its state at this moment is the first average.
        decay: 0 to 1; in the first updates n it is at most (1 + n) / (10 + n), so that a short run is not its start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        super().__init__(module)
        self.decay, self.updates = decay, 0

    def update(self) -> None:
        """Moves the average towards the weights as they are now."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        self._move(1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """The averages and the counter."""
        return {"updates": self.updates, **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`, on the module's device."""
        self.updates = state["updates"]
        super().load_state_dict(state)
