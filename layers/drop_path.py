"""Stochastic depth (Huang et al., Deep Networks with Stochastic Depth, 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Leaves out a residual branch, sample by sample, with probability `rate`; what is kept is scaled up by 1 / (1 - rate).

    In evaluation, and at rate 0, nothing happens and nothing is drawn.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """B x ... -> the same shape."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.empty((len(x),) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device).bernoulli_(1 - self.rate)
        return x * (kept / (1 - self.rate))


def drop_path_rates(rate: float, blocks: int) -> list[float]:
    """The rates of the blocks of a network: from 0 at the first, linearly, to `rate` at the last (the paper's rule)."""
    return [rate * i / max(blocks - 1, 1) for i in range(blocks)]
