"""RandomErasing, as in the classic template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy
import torch

from data.transforms import TRANSFORMS


@TRANSFORMS.register("RandomErasing")
class RandomErasing:
    """Overwrites a random rectangle with the data set's mean (Zhong et al., Random Erasing, AAAI 2020).

    Args:
        prob: how often.
        area: least and greatest area, shares of the image.
        ratio: least height over width; its inverse is the greatest.
        mean: fill value per channel, fraction of full scale; () fills with half of it.
    """

    def __init__(
        self, prob: float = 0.5, area: Sequence[float] = (0.02, 0.4), ratio: float = 0.3, mean: Sequence[float] = ()
    ) -> None:
        self.prob, self.area, self.ratio, self.mean = prob, area, ratio, mean

    def __call__(self, sample: dict[str, Any], rng: numpy.random.Generator) -> dict[str, Any]:
        if rng.random() >= self.prob:
            return sample
        image = sample["image"]
        channels, height, width = image.shape
        for _ in range(100):
            area = height * width * rng.uniform(self.area[0], self.area[1])
            aspect = math.exp(rng.uniform(math.log(self.ratio), -math.log(self.ratio)))
            tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < tall < height and 0 < wide < width:
                top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
                fill = torch.tensor(list(self.mean) or [0.5] * channels).mul(255).round().to(image.dtype)
                image = image.clone()  # the data set's own memory is never written to
                image[:, top : top + tall, left : left + wide] = fill[:, None, None]
                return {**sample, "image": image}
        return sample
