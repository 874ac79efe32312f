"""Made images that can be learnt: each class is a fixed pattern, hidden in noise. For tests and benchmarks."""

from __future__ import annotations

import re

import torch

from data.dataset import ArrayDataset, Dataset
from data.datasets import DATASETS
from utils.errors import UserError


@DATASETS.register("synthetic")
def synthetic(place: str, root: str, train: bool, seed: int) -> Dataset:
    """`synthetic:SAMPLESxCHANNELSxHEIGHTxWIDTHxCLASSES`, such as `synthetic:1000x3x32x32x10`; or just `synthetic`.

    Raises:
        UserError: the place is not of that form.
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)x(\d+)", place or "512x1x8x8x4")
    if not match or 0 in map(int, match.groups()):
        raise UserError(f"synthetic:{place}: write synthetic:SAMPLESxCHANNELSxHEIGHTxWIDTHxCLASSES, each at least 1")
    samples, channels, height, width, classes = map(int, match.groups())
    patterns = torch.rand(classes, channels, height, width, generator=torch.Generator().manual_seed(seed))
    noise = torch.Generator().manual_seed(2 * seed + 1 + train)
    targets = torch.arange(samples) % classes
    images = 0.6 * patterns[targets] + 0.4 * torch.rand(samples, channels, height, width, generator=noise)
    names = [f"class_{n}" for n in range(classes)]
    return ArrayDataset("synthetic", (images * 255).to(torch.uint8), targets, names, [0.5] * channels, [0.25] * channels)
