"""An optimizer's state together with whose it is: torch restores by position, and would silently swap moments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import UserError


class NamedOptimizer:
    """What is registered instead of the bare optimizer: its state, its class, and the names of each group's parameters.

    Args:
        root: the module that the parameters belong to; those that are not in it are numbered.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, root: nn.Module) -> None:
        self.optimizer, self.root = optimizer, root

    def state_dict(self) -> dict[str, Any]:
        """torch's own, with "class" and "names" beside its "state" and "param_groups"."""
        return {**self.optimizer.state_dict(), "class": type(self.optimizer).__name__, "names": self._names()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`.

        The learning rate in it does not come back: the trainer computes the rate of each step anew from the config, so
        that a rate changed on resume takes effect at once.

        Raises:
            UserError: it is another class's, or the parameters or their order are others.
        """
        own, names = type(self.optimizer).__name__, self._names()
        kind, saved = state.get("class", own), state.get("names", names)
        if kind != own:
            raise UserError(
                f"the checkpoint holds the state of {kind}, this optimizer is {own}; set SOLVER.OPTIMIZER_NAME {kind}"
            )
        if saved != names:
            raise UserError(f"the checkpoint's optimizer has other parameters: {_difference(saved, names)}")
        self.optimizer.load_state_dict({"state": state["state"], "param_groups": state["param_groups"]})
        self._lay_out()

    def _lay_out(self) -> None:
        """Lays out each moment in memory as its parameter is: fused kernels go along both without looking, and a run may
        go on in another memory format than it was saved in."""
        for parameter, moments in self.optimizer.state.items():
            for name, value in moments.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape and value.stride() != parameter.stride():
                    moments[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def _names(self) -> list[list[str]]:
        known = {id(parameter): name for name, parameter in self.root.named_parameters()}
        groups = [group["params"] for group in self.optimizer.param_groups]
        return [[known.get(id(p), f"parameter {i}") for i, p in enumerate(group)] for group in groups]


def _difference(saved: list[list[str]], own: list[list[str]]) -> str:
    """The first thing that differs, in words."""
    before, now = [n for group in saved for n in group], [n for group in own for n in group]
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    if gone or new:
        return f"it lacks {', '.join(new[:4]) or 'none'} of today's, and {', '.join(gone[:4]) or 'none'} of its own are gone"
    place = next((i for i, (a, b) in enumerate(zip(before, now, strict=True)) if a != b), None)
    if place is None:
        return f"{len(saved)} groups of {list(map(len, saved))}, now {len(own)} of {list(map(len, own))}"
    return f"their order changed, number {place} was {before[place]} and is now {now[place]}"
