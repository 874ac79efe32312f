"""One step made again under a magnifying glass: where the first number that is not finite comes from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine.blame import own_lines
from engine.crash import bad_gradients
from engine.hooks.base import Hook
from engine.numbers import Step
from engine.task import Batch, with_total
from engine.trainer import Trainer


@dataclass
class Replay(Hook):
    """What the step showed, on this rank.

    Attributes:
        images: of each micro-batch: shape, least and greatest value, whether all are finite.
        losses: of each micro-batch, its named losses.
        module: the first module whose output is not finite though its inputs are: name and type; "" where there is none.
        gradients: names of the parameters whose gradient is not finite.
        weights: names of the parameters that were not finite before the step.
        anomaly: what autograd's anomaly detection said, where it was asked for; with the lines of its forward.
        found: whether the trainer refused the step, as it did in the run.
    """

    images: list[str] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    module: str = ""
    gradients: list[str] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    anomaly: str = ""
    found: bool = False

    def on_nonfinite(self, trainer: Trainer, step: Step, spoilt: bool) -> bool:
        """Notes the gradients, and lets the step be left out."""
        self.found, self.gradients = True, bad_gradients(trainer.task)
        return True


def replay_step(trainer: Trainer, state: dict[str, Any], *, anomaly: bool = False) -> Replay:
    """Makes the step that `state` (crash/state.pt of a run) was kept before; nothing but the trainer is changed.

    Args:
        anomaly: with autograd's anomaly detection, which names the operation whose backward gives a NaN; slow.
    """
    for hook in trainer.hooks:  # what is frozen until a later epoch
        hook.before_train(trainer)
    trainer.load_state_dict(state)
    for hook in trainer.hooks:
        hook.before_epoch(trainer)
    seen = Replay(weights=[n for n, p in trainer.task.named_parameters() if not bool(torch.isfinite(p).all())])
    trainer.add_hooks([seen])
    trainer.task.train()
    window = next(trainer.windows(trainer.epoch, trainer.step_in_epoch))
    with _watched(trainer, seen), torch.autograd.set_detect_anomaly(anomaly), warnings.catch_warnings(record=True) as said:
        try:
            trainer.train_step(window)
        except RuntimeError as error:
            if not anomaly or "nan values" not in str(error):
                raise
            where = [line for w in said for line in own_lines(str(w.message))]  # torch says it in a warning
            seen.anomaly, seen.found = f"{error} It came of {' > '.join(where[-3:]) or 'the plumbing'}", True
    return seen


@contextmanager
def _watched(trainer: Trainer, seen: Replay) -> Iterator[None]:
    """Within, each module's output and each micro-batch's losses are looked at."""
    compute = trainer.compute_losses

    def compute_losses(batch: Batch) -> dict[str, Tensor]:
        seen.images.append(_describe(batch["image"]))
        losses = compute(batch)
        seen.losses.append({name: float(value) for name, value in with_total(losses).items()})
        return losses

    def look(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        if not seen.module and _finite(inputs) and not _finite(output):
            seen.module = f"{name} ({type(module).__name__})"

    named = [(name, module) for name, module in trainer.task.named_modules() if name]
    handles = [m.register_forward_hook(lambda m, i, o, name=n: look(name, m, i, o)) for n, m in named]
    trainer.compute_losses = compute_losses  # type: ignore[method-assign]
    try:
        yield
    finally:
        del trainer.compute_losses
        for handle in handles:
            handle.remove()


def _finite(value: Any) -> bool:
    """Whether all numbers are, however they are nested."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value).all())
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True


def _describe(image: Tensor) -> str:
    """`16x1x8x8, -1.2 to 2.3`, and whether something in it is not finite."""
    size = "x".join(map(str, image.shape))
    if not image.numel():
        return size
    return f"{size}, {float(image.min()):.3g} to {float(image.max()):.3g}{'' if _finite(image) else ', NOT FINITE'}"
