"""NaN and infinity, found in the loss and the gradients before the optimizer steps.

One kernel looks at the loss and all gradients. With several ranks a loss that is not finite makes its gradients so, and as
DDP adds gradients up over ranks, each rank finds the same without asking the others; under FSDP they ask.

On a CPU the answer is at hand. On a device nobody waits for it: the fused optimizers of torch leave a step out by
themselves when their `found_inf` is set (as for a loss scaler), and as it stays set, so are the steps after it; the trainer
asks when it reads the losses, before anything is logged or saved. With other optimizers, and to leave out single steps
(SOLVER.NONFINITE skip), the device is waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine import distributed
from engine.sharding import is_sharded
from utils.errors import RunFailed
from utils.states import local

MOST = 1000  # steps that are remembered between two looks


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
        samples: the "index" of each micro-batch of this rank.
        generators: torch's generator state, of the CPU and of the device; None where there is none.
    """

    epoch: int
    step: int
    step_in_epoch: int
    samples: list[Tensor] = field(default_factory=list)
    generators: tuple[Tensor | None, Tensor | None] = (None, None)

    @property
    def indices(self) -> list[list[int]]:
        """Of this rank's samples, a list for each micro-batch."""
        return [index.tolist() for index in self.samples]


@dataclass
class Guard:
    """Stands between backward and the optimizer.

    Args:
        module: whose buffers (batch normalisation's statistics) are put back when its step is left out.
        late: let the fused optimizer leave the step out and ask later, instead of waiting for the device.
        sharded: gradients are parts of their own on each rank, which then have to be asked for.
        scaled: a loss scaler (fp16) leaves steps out by itself. A gradient that is too large is its daily work, so only the
            losses are looked at.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    device: torch.device
    late: bool = False
    scaled: bool = False
    sharded: bool = False

    def __post_init__(self) -> None:
        self._steps: deque[Step] = deque(maxlen=MOST if self.late else 1)
        self._begun = 0  # steps since the last look
        self._alone = distributed.world_size() == 1
        self._found = torch.zeros((), device=self.device)
        self._one = torch.ones((), device=self.device)
        self._passed = torch.zeros((), device=self.device)
        self._buffers = [] if self.late else list(self.module.buffers())
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]
        if self.late and not self.scaled:
            self.optimizer.found_inf = self._found  # type: ignore[attr-defined]

    def begin(self, epoch: int, step: int, step_in_epoch: int, indices: Sequence[Tensor]) -> None:
        """Before a step's first forward."""
        device = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        self._begun += self.late
        self._steps.append(Step(epoch, step, step_in_epoch, list(indices), (torch.get_rng_state(), device)))
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)

    def weigh(self, loss: Tensor, weight: float | Tensor) -> Tensor:
        """`loss * weight`; with several ranks NaN in every gradient where the loss is not finite."""
        if self._alone:
            return loss if weight == 1 else loss * weight
        return loss * (loss.detach() * 0 + weight)  # to begin backward with this factor would import torch's compiler

    def finds(self, losses: list[Tensor], gradients: list[Tensor]) -> bool:
        """Whether one of them is not finite; always no where the answer comes late (`look`)."""
        watched = losses if self.scaled else [*losses, *gradients]
        for group in _alike([local(tensor) for tensor in watched] if self.sharded else watched):
            torch._amp_foreach_non_finite_check_and_unscale_(group, self._found, self._one)
        if self.sharded:
            distributed.all_reduce_sum(self._found)
        if self.late:
            self._passed += 1 - self._found
            return False
        found = self._found.item() != 0
        if found:
            self._found.zero_()
        return found

    def look(self) -> Step | None:
        """The first step since the last look that was left out on the device, if there is one. Waits for the device."""
        if not self.late:
            return None
        passed, begun, steps = int(self._passed.item()), self._begun, list(self._steps)
        self._passed.zero_()
        self._found.zero_()
        self._begun = 0
        return steps[max(passed - begun, -len(steps))] if passed < begun else None

    @property
    def newest(self) -> Step | None:
        """The step that began last; None where a `train_step` of another kind never called `begin`."""
        return self._steps[-1] if self._steps else None

    def put_back(self) -> None:
        """The buffers as they were before the step that is left out."""
        if self._kept:
            torch._foreach_copy_(self._buffers, self._kept)


def make_guard(task: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device, *, wait: bool, scaled: bool) -> Guard:
    """A guard that asks late where the optimizer itself can leave a step out on the device, unless it has to `wait`."""
    sharded = is_sharded(task)
    fused = device.type == "cuda" and all(group.get("fused") for group in optimizer.param_groups)
    return Guard(task, optimizer, device, late=fused and not (wait or sharded), scaled=scaled, sharded=sharded)


def _alike(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Dense, in groups of one dtype: what the kernel takes."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor._values() if tensor.is_sparse else tensor)
    return list(groups.values())
