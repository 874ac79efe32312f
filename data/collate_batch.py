"""Samples to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from data.buffers import Buffers
from utils.errors import UserError


def collate_batch(samples: Sequence[dict[str, Any]], buffers: Buffers | None = None) -> dict[str, Any]:
    """Stacks tensors, makes tensors of numbers (int64, float32) and lists of the rest; images into uint8 `buffers`, if given.

    Raises:
        UserError: tensors of different shapes meet; the message names both samples.
    """
    return {key: _stack(key, [sample[key] for sample in samples], samples, buffers) for key in samples[0]}


def _stack(key: str, values: list[Any], samples: Sequence[dict[str, Any]], buffers: Buffers | None) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        for sample, value in zip(samples, values, strict=True):
            if value.shape != first.shape:
                raise UserError(
                    f"{key!r} of sample {samples[0]['index']} is {list(first.shape)} and of sample {sample['index']} "
                    f"{list(value.shape)}: set INPUT.SIZE_TRAIN and INPUT.SIZE_TEST, or add a Resize to the transforms"
                )
        if first.ndim == 3 and len(first) > 1 and all(value.stride(0) == 1 for value in values):
            # Images that lie in memory pixel by pixel stay so: copying is far cheaper than sorting by channel.
            return _joined([value.permute(1, 2, 0) for value in values], buffers).permute(0, 3, 1, 2)
        return _joined(values, buffers)
    if isinstance(first, bool | int | numpy.integer):
        return torch.tensor(values, dtype=torch.int64)
    if isinstance(first, float):
        return torch.tensor(values, dtype=torch.float32)
    return values


def _joined(values: list[Tensor], buffers: Buffers | None) -> Tensor:
    if buffers is None or values[0].dtype != torch.uint8 or values[0].ndim < 2:
        return torch.stack(values)
    return torch.stack(values, out=buffers.take((len(values), *values[0].shape)))
