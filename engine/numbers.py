"""NaN and infinity, found in the loss and the gradients before the optimizer steps.

One kernel looks at all gradients; a loss that is not finite makes them so, and as DDP adds gradients up over ranks, each
rank finds the same without asking the others. On a CPU the answer is at hand. On a device nobody waits for it: the fused
optimizers of torch leave a step out by themselves when their `found_inf` is set (as for a loss scaler), and as it stays
set, so are the steps after it; the trainer asks when it reads the losses, before anything is logged or saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import RunFailed


class NonFinite(RunFailed):
    """A step whose loss or gradient is NaN or infinite, and that no hook dealt with."""


class GoBack(Exception):
    """Raised by a hook to go on from an earlier state; the trainer loads `state` and trains from there."""

    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__("going back to an earlier checkpoint")
        self.state = state


@dataclass(frozen=True)
class Step:
    """A step as it begins: enough to make exactly it again, given the weights before it.

    Attributes:
        indices: of this rank's samples, a list for each micro-batch.
        generators: torch's generator state, of the CPU and of the device (None where that is the CPU).
    """

    epoch: int
    step: int
    step_in_epoch: int
    indices: list[list[int]]
    generators: tuple[Tensor, Tensor | None]


@dataclass
class Guard:
    """Stands between backward and the optimizer.

    Args:
        module: whose buffers (batch normalisation's statistics) are put back when its step is left out.
        late: let the fused optimizer leave the step out and ask later, instead of waiting for the device.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    late: bool = False
    _steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._found = torch.zeros((), device=self.device)
        self._one = torch.ones((), device=self.device)
        self._passed = torch.zeros((), device=self.device)
        self._buffers = list(self.module.buffers())
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]
        if self.late:
            self.optimizer.found_inf = self._found  # type: ignore[attr-defined]

    def begin(self, epoch: int, step: int, step_in_epoch: int, indices: Sequence[Tensor]) -> None:
        """Before a step's first forward."""
        device = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        rows = [index.tolist() for index in indices]
        if not self.late:
            self._steps.clear()
        self._steps.append(Step(epoch, step, step_in_epoch, rows, (torch.get_rng_state(), device)))
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)

    def weigh(self, loss: Tensor, weight: float | Tensor) -> Tensor:
        """`loss * weight`; NaN in every gradient where the loss is not finite."""
        return loss * (loss.detach() * 0 + weight)  # to begin backward with this factor would import torch's compiler

    def finds(self, gradients: list[Tensor]) -> bool:
        """Whether one of them is not finite; always no where the answer comes late (`look`)."""
        if not self.late:
            self._found.zero_()
        dense = [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]
        for group in _alike(dense):
            torch._amp_foreach_non_finite_check_and_unscale_(group, self._found, self._one)
        if self.late:
            self._passed += 1 - self._found
            return False
        return bool(self._found.item())

    def look(self) -> Step | None:
        """The first step since the last look that was left out on the device, if there is one. Waits for the device."""
        if not self.late:
            return None
        passed, steps = int(self._passed.item()), self._steps
        self._passed.zero_()
        self._found.zero_()
        self._steps = []
        return steps[passed] if passed < len(steps) else None

    @property
    def newest(self) -> Step:
        """The step that began last."""
        return self._steps[-1]

    def put_back(self) -> None:
        """The buffers as they were before the step that is left out."""
        if self._kept:
            torch._foreach_copy_(self._buffers, self._kept)


def can_be_late(optimizer: torch.optim.Optimizer, device: torch.device, precision: str) -> bool:
    """Whether the optimizer itself can leave a step out on the device; the loss scaler of fp16 sees to that on its own."""
    fused = all(group.get("fused") for group in optimizer.param_groups)
    return device.type == "cuda" and fused and precision != "fp16"


def _alike(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Groups of one dtype: what the kernel takes."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())
