"""Stochastic weight averaging (Izmailov et al., Averaging Weights Leads to Wider Optima, 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from solver.average import WeightAverage


class ModelSWA(WeightAverage):
    """The plain mean of a module's weights at the ends of several epochs. Steps do not move it: `collect` does.

    Floating-point buffers, among them the statistics of batch normalisation, are averaged like weights. (The paper
    estimates them anew in a pass over the training data, which is left out here: they too stem from near weights.) Whole
    numbers, such as counters, are those of the newest epoch. Before the first `collect` there is no average, and `swap`
    leaves the module as it is.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.epochs: list[int] = []

    def collect(self, epoch: int, first: int) -> None:
        """Takes the weights at the end of `epoch` into the mean; what was taken before epoch `first` is forgotten."""
        if any(e < first for e in self.epochs):  # the run was made longer: its last epochs are others now
            self.epochs = []
        self.epochs.append(epoch)
        self._move(1 / len(self.epochs))

    @contextmanager
    def swap(self) -> Iterator[None]:
        """Within, the module has the mean of the weights, where there is one; afterwards its own."""
        if not self.epochs:
            yield
            return
        with super().swap():
            yield

    def state_dict(self) -> dict[str, Any]:
        """The means and the epochs that they are of."""
        return {"epochs": list(self.epochs), **super().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`, on the module's device."""
        self.epochs = list(state["epochs"])
        super().load_state_dict(state)
