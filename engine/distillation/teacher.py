"""The teacher and what its outputs do to a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.task import Batch, Outputs
from modeling.losses.outputs import entry, mean_over_heads


class Teacher:
    """A trained model that looks at the very images that the student sees, each normalised as the teacher knows them.

    It is no module of the task: optimizer, ranks, averages and checkpoints know nothing of it.

    Args:
        model: in evaluation mode from now on, on `device`.
        channels: that it takes: those of the student's images; 3 for grey ones, which are repeated; or 1, the first.
        seen, own: (mean, std) of the student's and of the teacher's normalisation, fractions of full scale, one a
            channel or one for all; () is none.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        channels: int,
        seen: tuple[Sequence[float], Sequence[float]],
        own: tuple[Sequence[float], Sequence[float]],
        device: torch.device,
    ) -> None:
        self.model = model.to(device).eval().requires_grad_(False)
        self.channels = channels
        self.same = [list(part) for part in seen] == [list(part) for part in own]
        self._seen = _mean_and_std(*seen, device)
        self._own = _mean_and_std(*own, device)

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """Normalised images B x C x H x W as the student sees them -> logits B x classes."""
        if not self.same or image.shape[1] != self.channels:
            image = image * self._seen[1] + self._seen[0]  # fractions of full scale again
            image = image[:, :1].expand(-1, self.channels, -1, -1) if image.shape[1] != self.channels else image
            image = (image - self._own[0]) / self._own[1]
        return entry(self.model(image), "logits")


class PrepareWithTeacher:
    """Prepares a batch and adds `teacher`, the teacher's logits, to it."""

    def __init__(self, prepare: Any, teacher: Callable[[Tensor], Tensor]) -> None:
        self.prepare, self.teacher = prepare, teacher

    def __call__(self, batch: Batch) -> Batch:
        batch = self.prepare(batch)
        return {**batch, "teacher": self.teacher(batch["image"])}

    def describe(self) -> dict[str, Any]:
        """That of the student's own."""
        description: dict[str, Any] = self.prepare.describe()
        return description


class Distillation:
    """(1 - weight) x loss + weight x T**2 x KL(teacher || student), both softened by the temperature T.

    Args:
        weight: 0 to 1.
        temperature: T > 0.
    """

    def __init__(self, weight: float, temperature: float) -> None:
        self.weight, self.temperature = weight, temperature

    def __call__(self, losses: dict[str, Tensor], outputs: Outputs, teacher: Tensor) -> dict[str, Tensor]:
        """`losses` scaled ("loss" is called "loss_task" now), and "loss_distill", a mean over samples."""
        target = (teacher.float() / self.temperature).log_softmax(dim=1)

        def divergence(logits: Tensor) -> Tensor:
            student = (logits.float() / self.temperature).log_softmax(dim=1)
            total = functional.kl_div(student, target, reduction="sum", log_target=True)
            return self.weight * self.temperature**2 * total / max(len(logits), 1)

        scaled = {
            "loss_task" if name == "loss" else name: value * (1 - self.weight) if name.startswith("loss") else value
            for name, value in losses.items()
        }
        return {**scaled, "loss_distill": mean_over_heads(entry(outputs, "logits"), divergence)}


def _mean_and_std(mean: Sequence[float], std: Sequence[float], device: torch.device) -> tuple[Tensor, Tensor]:
    parts = (torch.tensor(list(mean) or [0.0]), torch.tensor(list(std) or [1.0]))
    return parts[0].view(1, -1, 1, 1).to(device), parts[1].view(1, -1, 1, 1).to(device)
