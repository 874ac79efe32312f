"""The one module that optimizer, DDP, compile and checkpoint see: a model with its loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Batch = dict[str, Any]
Outputs = Tensor | dict[str, Tensor]


class Task(nn.Module):
    """Model and loss behind one forward, so that DDP sees every parameter, also those of a loss.

    Args:
        model: `model(image: B x C x H x W) -> Tensor | dict[str, Tensor]`.
        loss: `loss(outputs, batch) -> dict[str, Tensor]`, each a mean over samples; entries whose name begins with
            "loss" are summed and trained on, all are logged.
        names: what the config calls the two, for messages.
        open_set: the classes of evaluation are not those of training, so that there is no loss in evaluation.

    Attributes:
        filled: names of the model's weights that MODEL.WEIGHTS filled.
        still: names of the model's modules that stay in evaluation mode: frozen batch normalisation keeps its statistics.
        leaves_loss: an evaluation asks the loss itself, about several batches at once, and forward gives none.
        distillation: in training, makes of the losses, the outputs and batch["teacher"] the losses that are trained on.
    """

    def __init__(self, model: nn.Module, loss: nn.Module, names: tuple[str, str] = ("", ""), open_set: bool = False) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.names = names
        self.open_set = open_set
        self.filled: frozenset[str] = frozenset()
        self.still: tuple[str, ...] = ()
        self.leaves_loss = False
        self.distillation: Callable[[dict[str, Tensor], Outputs, Tensor], dict[str, Tensor]] | None = None

    def train(self, mode: bool = True) -> Task:
        """Training or evaluation mode, but for the modules that stay still."""
        super().train(mode)
        for name in self.still:
            self.model.get_submodule(name).eval()
        return self

    def forward(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        """Outputs and named losses of a prepared batch (normalised floats, on the device)."""
        outputs = self.model(batch["image"])
        if self.leaves_loss or (self.open_set and not self.training):
            return outputs, {}
        losses = self.loss(outputs, batch)
        if not isinstance(losses, dict):
            raise TypeError(f'{type(self.loss).__name__} returned a {type(losses).__name__}; return {{"loss": tensor}}')
        if self.distillation is not None and self.training:
            losses = self.distillation(losses, outputs, batch["teacher"])
        return outputs, losses


def total_loss(losses: dict[str, Tensor]) -> Tensor:
    """The sum of the entries whose name begins with "loss": what is trained on."""
    parts = [value for name, value in losses.items() if name.startswith("loss")]
    assert parts, f"a loss gives at least one entry whose name begins with 'loss', this one gave {sorted(losses)}"
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum()


def with_total(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Named losses with what is trained on, their sum, as "loss": what is logged."""
    return {**losses, "loss": total_loss(losses)}
