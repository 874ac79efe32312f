"""Scores of a task on a loader: each sample counts once, whatever the number of ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, Protocol

import torch
from torch import nn

from engine.agreement import agreed_signal
from engine.evaluation_losses import EvaluationLosses
from engine.task import Batch, Outputs
from utils import interrupts


class Evaluator(Protocol):
    """Gathers sums over batches and makes named scores (fractions) of them; its first score is the primary one."""

    lower_is_better: frozenset[str]

    def reset(self) -> None: ...
    def update(self, outputs: Outputs, batch: Batch) -> None: ...
    def compute(self) -> dict[str, float]: ...


@torch.no_grad()
def evaluate(
    task: nn.Module,
    loader: Iterable[Batch],
    prepare: Callable[[Batch], Batch],
    evaluator: Evaluator,
    *,
    device: torch.device,
    autocast: torch.dtype | None = None,
    on_batch: Callable[[Outputs, Batch], Any] | None = None,
) -> dict[str, float]:
    """The evaluator's scores, then "loss" and further losses, over all samples of `loader`.

    `task(batch) -> (outputs, losses)` is a `Task` or what acts like one. It is put into evaluation mode and back into the
    mode that it had. `on_batch(outputs, batch)` sees every batch, for those who collect predictions.

    Raises:
        Interrupted: a signal came to some rank of a training; on all ranks, between two batches.
    """
    evaluator.reset()
    losses_of_batches = EvaluationLosses(task, device)
    was_training = task.training
    task.eval()
    try:
        with losses_of_batches.left_out():
            for raw in loader:
                if interrupts.received():
                    break
                count = raw["index"].shape[0]
                if count == 0:
                    continue
                batch = prepare(raw)
                with torch.autocast(device.type, dtype=autocast) if autocast is not None else nullcontext():
                    outputs, losses = task(batch)
                losses_of_batches.add(outputs, batch, losses, count)
                evaluator.update(outputs, batch)
                if on_batch is not None:
                    on_batch(outputs, batch)
                del batch  # so that the next one takes its memory, which is still in the cache
    finally:
        task.train(was_training)
    number = agreed_signal()
    if number:
        raise interrupts.Interrupted(number)
    return {**evaluator.compute(), **losses_of_batches.read()}
