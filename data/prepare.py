"""What happens to a batch on the device, before model, loss and evaluator see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from data.buffers import Buffers
from data.mixing import Mixing
from data.to_device import sent

LARGE = 2**15  # values of an image from which on a batch is normalised image by image


class Prepare:
    """Moves a batch and normalises its images: uint8 becomes (x / 255 - mean) / std as float32, floats are only moved.

    Args:
        mean, std: fractions of full scale, one a channel; () leaves images at 0 to 1.
        repeat: how often the one channel of a grey image is laid side by side, for networks that take RGB; 1: not at all.
        size: pixels (height, width) of a test image, for whoever uses the model elsewhere; () where images vary.
        mixing: mixes the samples of batches that say their position, which only a training loader's do.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        *,
        repeat: int = 1,
        size: Sequence[int] = (),
        channels_last: bool = False,
        mixing: Mixing | None = None,
    ) -> None:
        self.mean, self.std, self.size, self.device = tuple(mean), tuple(std), tuple(size), device
        self.mixing, self.repeat = mixing, repeat
        self._buffers = Buffers(numpy.float32, most=2)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        shape = (1, -1, 1, 1)
        # (x / 255 - mean) / std in one multiplication and one addition
        self._scale = (1 / (255 * torch.tensor(self.std or (1.0,)))).view(shape).to(device)
        self._shift = (-torch.tensor(self.mean or (0.0,)) / torch.tensor(self.std or (1.0,))).view(shape).to(device)
        scale, shift = torch.broadcast_tensors(self._scale.flatten().cpu(), self._shift.flatten().cpu())
        self._one_scale = bool((scale == scale[0]).all() and (shift == shift[0]).all())
        self._row = (torch.empty(0), torch.empty(0))
        self._channels = list(zip(shift.unbind(), scale.tolist(), strict=True))[: 1 if self._one_scale else None]

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        moved = dict(batch)
        position: tuple[int, int] | None = moved.pop("position", None)
        if self.device.type != "cpu":
            moved = {k: sent(v, self.device) if isinstance(v, Tensor) else v for k, v in moved.items()}
        image = moved["image"]
        is_picture = image.dtype == torch.uint8
        if is_picture:
            image = self._normalised(image)
        if self.mixing is not None and position is not None:
            image, moved["target"] = self.mixing(image, moved["target"], position)
        moved["image"] = image.contiguous(memory_format=self._format) if is_picture else image
        return moved

    def _normalised(self, image: Tensor) -> Tensor:
        """B x C x H x W uint8 -> float32. On the CPU in memory that is used again: asking for it anew costs more than the
        arithmetic. Large images come one after another, so that each stays in the cache."""
        if self.device.type != "cpu":
            floats = image.to(torch.float32).repeat(1, self.repeat, 1, 1) if self.repeat > 1 else image.to(torch.float32)
            return floats.mul_(self._scale).add_(self._shift)
        shape = (image.shape[0], image.shape[1] * self.repeat, *image.shape[2:])
        if self._format is torch.channels_last and (shape[1] > 1 or image.is_contiguous(memory_format=self._format)):
            return self._normalised_by_rows(image.expand(shape).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        floats = self._buffers.take(shape)
        if self._one_scale or math.prod(shape[1:]) < LARGE:
            return self._shifted(floats.copy_(image))
        for out, pixels in zip(floats.split(1), image.split(1), strict=True):
            self._shifted(out.copy_(pixels))
        return floats

    def _shifted(self, floats: Tensor) -> Tensor:
        """B x C x H x W in place, multiplication and addition in one pass: over all, or over one channel after another."""
        parts = [floats] if self._one_scale else floats.unbind(1)
        for values, (shift, factor) in zip(parts, self._channels, strict=True):
            torch.add(shift, values, alpha=factor, out=values)
        return floats

    def _normalised_by_rows(self, image: Tensor) -> Tensor:
        """B x H x W x C uint8 -> float32: whole rows of pixels at a time, for a channel is too short to compute with."""
        batch, height, width, channels = image.shape
        floats, in_planes = self._buffers.take(image.shape), not image.is_contiguous()
        if in_planes:  # which torch lays last faster one by one
            for channel, plane in zip(floats.unbind(-1), image.unbind(-1), strict=True):
                channel.copy_(plane)
        if self._one_scale:
            return self._shifted(floats if in_planes else floats.copy_(image))
        lines, (scale, shift) = (batch, height, width * channels), self._rows(channels, width)
        if in_planes:
            torch.addcmul(shift, floats.view(lines), scale, out=floats.view(lines))
            return floats
        size = 1 if math.prod(image.shape[1:]) >= LARGE else max(batch, 1)
        for out, pixels in zip(floats.view(lines).split(size), image.view(lines).split(size), strict=True):
            torch.addcmul(shift, out.copy_(pixels), scale, out=out)
        return floats

    def _rows(self, channels: int, width: int) -> tuple[Tensor, Tensor]:
        """Scale and shift of each value in a row of pixels; those of the last size are kept."""
        if len(self._row[0]) != channels * width:
            each = (values.view(-1).expand(channels).repeat(width) for values in (self._scale, self._shift))
            self._row = (next(each), next(each))
        return self._row

    def describe(self) -> dict[str, Any]:
        """Plain values for a checkpoint: what has to be done to an image before the model sees it."""
        return {"mean": list(self.mean), "std": list(self.std), "size": list(self.size), "scale": 255, "repeat": self.repeat}
