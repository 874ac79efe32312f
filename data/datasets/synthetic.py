"""Made images that can be learnt: a class is a fixed pattern, hidden in noise. For tests and benchmarks."""

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
    samples, channels, height, width, classes = _sizes("synthetic", place)
    patterns = torch.rand(classes, channels, height, width, generator=torch.Generator().manual_seed(seed))
    noise = torch.Generator().manual_seed(2 * seed + 1 + train)
    targets = torch.arange(samples) % classes
    images = 0.6 * patterns[targets] + 0.4 * torch.rand(samples, channels, height, width, generator=noise)
    names = [f"class_{n}" for n in range(classes)]
    return ArrayDataset("synthetic", (images * 255).to(torch.uint8), targets, names, [0.5] * channels, [0.25] * channels)


@DATASETS.register("synthetic_labels")
def synthetic_labels(place: str, root: str, train: bool, seed: int) -> Dataset:
    """The same form, multi-label: an image is the mean of the patterns of its classes (none to all), hidden in noise.

    Raises:
        UserError: the place is not of that form.
    """
    samples, channels, height, width, classes = _sizes("synthetic_labels", place)
    patterns = torch.rand(classes, channels, height, width, generator=torch.Generator().manual_seed(seed))
    noise = torch.Generator().manual_seed(2 * seed + 1 + train)
    targets = (torch.rand(samples, classes, generator=noise) < 0.4).float()
    mean = torch.einsum("nk,kchw->nchw", targets, patterns) / targets.sum(dim=1).clamp(min=1)[:, None, None, None]
    images = 0.6 * mean + 0.4 * torch.rand(samples, channels, height, width, generator=noise)
    names = [f"class_{n}" for n in range(classes)]
    pixels = (images * 255).to(torch.uint8)
    return ArrayDataset("synthetic_labels", pixels, targets, names, [0.5] * channels, [0.25] * channels)


def _sizes(name: str, place: str) -> list[int]:
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)x(\d+)", place or "512x1x8x8x4")
    if not match or 0 in map(int, match.groups()):
        raise UserError(f"{name}:{place}: write {name}:SAMPLESxCHANNELSxHEIGHTxWIDTHxCLASSES, each at least 1")
    return [int(size) for size in match.groups()]
