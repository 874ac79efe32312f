"""SGD, equal to torch.optim.SGD(fused=True) to the last bit, over the same kernel.

Why one of our own: making any optimizer of torch.optim imports torch's whole compiler, more than half of the time from
the start of a process to its first step; and the wrapper around `torch.optim.Optimizer.step` costs a small model a
tenth of its step. Every other optimizer is torch's. Arguments, groups, state and checkpoints are those of torch's class.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from utils.states import local

ARGUMENTS = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")


class SGD:
    """Stochastic gradient descent with momentum (Sutskever et al., ICML 2013), for dense parameters on CPU or CUDA.

    Args:
        params: parameters, or dicts with "params" and whatever of ARGUMENTS differs from the defaults given here.

    Attributes:
        grad_scale, found_inf: as torch's fused optimizers have them: a step with `found_inf` 1 changes nothing.

    Raises:
        ValueError: nesterov without momentum or with dampening.
    """

    _step_supports_amp_scaling = True  # so that torch's loss scaler sets the two below
    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        values = (lr, momentum, dampening, weight_decay, nesterov, maximize)
        self.defaults = dict(zip(ARGUMENTS, values, strict=True), foreach=None, differentiable=False, fused=True)
        groups: list[Any] = list(params)
        if groups and isinstance(groups[0], Tensor):
            groups = [{"params": groups}]
        self.param_groups = [{**self.defaults, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Any]] = {}

    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        with torch.no_grad():
            for group in self.param_groups:
                for lists, first in self._alike(group):
                    torch._fused_sgd_(
                        *lists,
                        weight_decay=group["weight_decay"],
                        momentum=group["momentum"],
                        lr=group["lr"],
                        dampening=group["dampening"],
                        nesterov=group["nesterov"],
                        maximize=group["maximize"],
                        is_first_step=first,
                        grad_scale=self.grad_scale,
                        found_inf=self.found_inf,
                    )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients; with `set_to_none` False they become zeros."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad = torch.zeros_like(parameter.grad)

    def state_dict(self) -> dict[str, Any]:
        """As torch.optim: parameters are numbered through all groups."""
        numbers = {p: i for i, p in enumerate(self._parameters())}
        groups = [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": {numbers[p]: dict(state) for p, state in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`, or that of torch.optim.SGD.

        Raises:
            ValueError: the groups have other sizes.
        """
        sizes = [len(group["params"]) for group in self.param_groups]
        if sizes != [len(group["params"]) for group in state["param_groups"]]:
            raise ValueError("loaded state dict contains parameter groups of other sizes")
        for group, saved in zip(self.param_groups, state["param_groups"], strict=True):
            group.update({key: value for key, value in saved.items() if key != "params"}, fused=True, foreach=None)
        parameters = self._parameters()
        self.state = {}
        for number, kept in state["state"].items():
            buffer, parameter = kept.get("momentum_buffer"), parameters[number]
            if buffer is not None:
                self.state[parameter] = {"momentum_buffer": buffer.to(parameter.device, parameter.dtype)}

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def _alike(self, group: dict[str, Any]) -> list[tuple[tuple[list[Tensor], ...], bool]]:
        """(parameters, gradients, momenta), of one device, one type, and all or none of them at their first step, which
        is what the kernel takes; of sharded ones this rank's part; and whether it is the first."""
        found: dict[Any, tuple[list[Tensor], ...]] = {}
        for parameter in group["params"]:
            gradient = parameter.grad
            if gradient is None:
                continue
            first = group["momentum"] != 0 and parameter not in self.state
            if first:
                # Zeros, for a first step that `found_inf` leaves out writes nothing here, and is not the first any more.
                self.state[parameter] = {"momentum_buffer": torch.zeros_like(gradient)}
            lists = found.setdefault((parameter.device, parameter.dtype, first), ([], [], []))
            lists[0].append(parameter)
            lists[1].append(gradient)
            if group["momentum"] != 0:
                lists[2].append(self.state[parameter]["momentum_buffer"])
        if hasattr(group["params"][0], "to_local"):
            found = {key: tuple([local(tensor) for tensor in part] for part in lists) for key, lists in found.items()}
        return [(lists, first) for (_, _, first), lists in found.items()]
