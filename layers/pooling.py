"""From a map of features to one vector: the mean, the greatest value, or something between the two."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AveragePooling(nn.Module):
    """The mean over the image."""

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W -> B x C."""
        return x.mean(dim=(2, 3))


class MaxPooling(nn.Module):
    """The greatest value of the image."""

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W -> B x C."""
        return x.amax(dim=(2, 3))


class GeneralisedMean(nn.Module):
    """(mean of x ** p) ** (1 / p), with p learnt (Radenovic et al., Fine-tuning CNN image retrieval with no human
    annotation, 2018): 1 is the mean, infinity the greatest value. Values below `least` count as that.

    Args:
        p: to begin with; the paper takes 3.
        least: above 0, so that the gradient is finite.
    """

    def __init__(self, p: float = 3.0, least: float = 1e-6) -> None:
        super().__init__()
        self.p, self.least = nn.Parameter(torch.tensor([p])), least

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W -> B x C, in float32: powers of half-precision numbers are soon 0."""
        with torch.autocast(x.device.type, enabled=False):
            p = self.p.float()
            return x.float().clamp(min=self.least).pow(p).mean(dim=(2, 3)).pow(1 / p)


POOLINGS: dict[str, type[nn.Module]] = {"average": AveragePooling, "gem": GeneralisedMean, "max": MaxPooling}
