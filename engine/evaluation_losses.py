"""The losses of an evaluation: asked of several batches at once where the loss takes them so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engine.meters import ExactMeans
from engine.task import Batch, Outputs, Task, with_total
from modeling.losses.outputs import entry

AT_ONCE = 2**17  # values of outputs that are asked about together: 512 kB, which a cache holds


class EvaluationLosses:
    """Means over samples of what the losses of `task` say.

    The loss of a small batch may cost as much as the model that it judges, nearly all of it for calls. A loss that has
    `of_batches` (see modeling.losses) is therefore left out of the task's forward and asked about several batches of one shape.
    """

    def __init__(self, task: nn.Module, device: torch.device) -> None:
        self._means = ExactMeans(device)
        later = isinstance(task, Task) and not task.open_set and _takes_batches(task.loss)
        self._task: Any = task if later else None
        self._values: list[Tensor] = []
        self._targets: list[Tensor] = []

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Within, the task's forward gives no losses where this class asks for them."""
        if self._task is None:
            yield
            return
        self._task.leaves_loss = True
        try:
            yield
        finally:
            self._task.leaves_loss = False

    def add(self, outputs: Outputs, batch: Batch, losses: dict[str, Tensor], count: int) -> None:
        """Takes a batch of `count` samples, and what forward said of it."""
        if self._task is None:
            if losses:
                self._means.add(with_total(losses), count)
            return
        values = entry(outputs, self._task.loss.needs)
        if self._values and values.shape != self._values[0].shape:
            self._ask()
        self._values.append(values)
        self._targets.append(batch["target"])
        if len(self._values) * values.numel() >= AT_ONCE:
            self._ask()

    def read(self) -> dict[str, float]:
        """The means, over all ranks; empty where nothing was added.

        Raises:
            RunFailed: the ranks added different names.
        """
        self._ask()
        return self._means.read()

    def _ask(self) -> None:
        if not self._values:
            return
        losses = self._task.loss.of_batches(torch.stack(self._values), torch.stack(self._targets))
        for loss in losses.unbind():
            self._means.add({"loss": loss}, len(self._values[0]))
        self._values, self._targets = [], []


def _takes_batches(loss: nn.Module) -> bool:
    """Whether it has `of_batches`; one that was inherited says nothing of a forward that was not."""
    owner = next(kind for kind in type(loss).__mro__ if vars(kind).keys() & {"forward", "of_batches"})
    return "of_batches" in vars(owner)
