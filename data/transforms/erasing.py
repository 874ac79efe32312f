"""RandomErasing, as in the classic template, and Cutout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch
from torch import Tensor

from data.transforms import TRANSFORMS
from data.transforms.arguments import whole_number
from utils.errors import UserError


@TRANSFORMS.register("RandomErasing")
class RandomErasing:
    """Overwrites a random rectangle with the data set's mean (Zhong et al., Random Erasing, AAAI 2020).

    Args:
        prob: how often.
        area: least and greatest area, shares of the image.
        ratio: least height over width; its inverse is the greatest.
        mean: fill value per channel, fraction of full scale; () fills with half of it.
    """

    in_threads = True

    def __init__(
        self, prob: float = 0.5, area: Sequence[float] = (0.02, 0.4), ratio: float = 0.3, mean: Sequence[float] = ()
    ) -> None:
        self.prob, self.area, self.ratio, self.mean = prob, area, ratio, mean

    def __call__(self, sample: dict[str, Any], rng: numpy.random.Generator) -> dict[str, Any]:
        if rng.random() >= self.prob:
            return sample
        image = sample["image"]
        height, width = image.shape[-2:]
        for _ in range(100):
            area = height * width * rng.uniform(self.area[0], self.area[1])
            aspect = math.exp(rng.uniform(math.log(self.ratio), -math.log(self.ratio)))
            tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < tall < height and 0 < wide < width:
                top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
                image = image.clone()  # the data set's own memory is never written to
                image[:, top : top + tall, left : left + wide] = _fill(self.mean, image)
                return {**sample, "image": image}
        return sample


@TRANSFORMS.register("Cutout")
class Cutout:
    """Overwrites one square with the data set's mean (DeVries and Taylor, Cutout, 2017).

    Its centre is anywhere in the image and what lies outside is cut off, as in the paper.

    Args:
        length: side of the square in pixels; the paper's 16 is for CIFAR-10, 8 for CIFAR-100, 20 for SVHN.
        mean: fill value per channel, fraction of full scale; () fills with half of it.

    Raises:
        UserError: the square has no pixel, or covers the whole image.
    """

    in_threads = True

    def __init__(self, length: int = 16, mean: Sequence[float] = ()) -> None:
        whole_number("Cutout", "length", length, 1)
        self.length, self.mean = length, mean

    def __call__(self, sample: dict[str, Any], rng: numpy.random.Generator) -> dict[str, Any]:
        image = sample["image"]
        height, width = image.shape[-2:]
        if self.length >= height and self.length >= width:
            raise UserError(
                f"INPUT.TRANSFORMS_TRAIN: Cutout of {self.length} pixels covers the whole image of {height} x {width}; "
                f"give {{Cutout: {{length: {max(min(height, width) // 2, 1)}}}}}"
            )
        top, left = int(rng.integers(height)) - self.length // 2, int(rng.integers(width)) - self.length // 2
        rows = slice(max(top, 0), top + self.length)
        columns = slice(max(left, 0), left + self.length)
        image = image.clone()  # the data set's own memory is never written to
        image[:, rows, columns] = _fill(self.mean, image)
        return {**sample, "image": image}


def _fill(mean: Sequence[float], image: Tensor) -> Tensor:
    """C x 1 x 1: the mean, in the units of the image."""
    values = torch.tensor(list(mean) or [0.5] * len(image))
    scaled = values.mul(255).round() if image.dtype == torch.uint8 else values
    return scaled.to(image.dtype)[:, None, None]
