"""Scores of a regression: sums in float64, the same digits for any number of ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.evaluators import EVALUATORS
from engine.meters import exact_sums, sum_dtype
from engine.task import Batch, Outputs
from modeling.losses.outputs import entry


@EVALUATORS.register("regression")
class RegressionEvaluator:
    """mae (mean absolute error), rmse and r2, over all values of all samples.

    Args:
        device: of the batches.
    """

    lower_is_better: frozenset[str] = frozenset({"mae", "rmse", "loss"})
    averages = "mean"
    target_kinds = ("value",)

    def __init__(self, *, device: torch.device, **_: Any) -> None:
        self._dtype = sum_dtype(device)
        self._parts: list[Tensor] = []

    def reset(self) -> None:
        """Forgets all samples."""
        self._parts.clear()

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Adds a batch: outputs B or B x 1 (or their entry "prediction") against targets of the same number."""
        prediction = entry(outputs, "prediction")
        target = batch["target"].to(self._dtype)
        error = prediction.to(self._dtype).reshape(target.shape) - target
        ones = torch.ones_like(error)
        parts = (ones, error.abs(), error.square(), target, target.square())
        self._parts.append(torch.stack([part.sum() for part in parts]))

    def compute(self) -> dict[str, float]:
        """mae and rmse in the units of the target, r2 as a fraction."""
        rows = torch.stack(self._parts).tolist() if self._parts else []
        count, absolute, square, total, total_square = exact_sums(rows) or [1.0, 0.0, 0.0, 0.0, 0.0]
        spread = total_square - total**2 / count
        return {
            "mae": absolute / count,
            "rmse": (square / count) ** 0.5,
            "r2": 1 - square / spread if spread > 0 else 0.0,
        }
