"""Averages of the weights, evaluated instead of the raw ones: a second set that can be swapped in and out."""

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
        state = module.state_dict()
        averages = {_place(value): value for value in state.values()}
        averages = {place: value.detach().clone() for place, value in averages.items()}
        self._average = {name: averages[_place(value)] for name, value in state.items()}  # one for all names of tied weights
        self._held: list[tuple[dict[str, Any], str, Tensor]] = []
        self._listed: list[tuple[Tensor, Tensor]] = []

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
        for name in reversed(self._average):  # of tied weights the first counts: others were swapped wrongly once
            self._average[name].copy_(average[name])

    @torch.no_grad()
    def _move(self, share: float) -> None:
        """Moves the average by `share` of the way to the weights as they are now; whole numbers are taken over."""
        pairs = [(local(average), local(value)) for value, average in self._pairs()]
        for floats in (True, False):
            chosen = [pair for pair in pairs if pair[1].is_floating_point() == floats]
            averages, values = [average for average, _ in chosen], [value for _, value in chosen]
            if chosen and floats:
                torch._foreach_lerp_(averages, values, share)
            elif chosen:
                torch._foreach_copy_(averages, values)  # counters of batch normalisation

    @torch.no_grad()
    def _exchange(self) -> None:
        for value, average in self._pairs():
            kept = value.clone()
            value.copy_(average)
            average.copy_(kept)

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """(weight, average) of all that the module's state has, tied weights once. Listed anew only where the module holds
        other tensors than before: to list takes longer than to average."""
        if not self._listed or any(holder.get(name) is not value for holder, name, value in self._held):
            state = self.module.state_dict(keep_vars=True)
            self._listed = list({id(self._average[n]): (value, self._average[n]) for n, value in state.items()}.values())
            numbers = {id(value) for value in state.values()}
            holders: list[dict[str, Any]] = [
                each for part in self.module.modules() for each in (part._parameters, part._buffers)
            ]
            self._held = [(h, name, value) for h in holders for name, value in h.items() if id(value) in numbers]
            numbers -= {id(value) for _, _, value in self._held}  # of what some module makes when it is asked for its state
            self._held += [({}, name, value) for name, value in state.items() if id(value) in numbers]
        return self._listed


def _place(tensor: Tensor) -> Any:
    """Equal for tied weights: where a tensor lies, and how."""
    own = local(tensor)
    return (own.data_ptr(), own.device, own.dtype, own.shape, own.stride()) if own.numel() else id(tensor)


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


class ModelSWA(WeightAverage):
    """The plain mean of a module's weights at the ends of several epochs (Izmailov et al., Averaging Weights Leads to Wider
    Optima, 2018). Steps do not move it: `collect` does.

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
