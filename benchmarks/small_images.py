"""Images of 32 x 32 x 3 in memory, pad-crop, flip, normalise: images a second over the same path without augmentation.

    python -m benchmarks.small_images [--json] [--rounds 7]

One thread, batches of 128, from the memory loader to normalised floats. Beside it torchvision's transforms sample by
sample in a DataLoader with 2 workers, as its documentation writes them; its workers start before the clock does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import config
from benchmarks.common import MEAN, STD, arguments, ratio, seconds, show
from data import build_prepare, build_splits, make_data_loader

SAMPLES, BATCH, WORKERS = 20_000, 128, 2
PEER_BATCHES = 24


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__, rounds=7)
    torch.set_num_threads(1)
    moved, plain = make_path("['PadCrop', 'RandomHorizontalFlip']"), make_path("()")
    images = build_splits(settings("()")).train.arrays()
    assert images is not None
    times: list[list[float]] = [[], [], []]
    for turn in range(args.rounds + 1):
        row = [moved(), plain(), per_sample(images[0]) if turn % 3 == 0 else 0.0]
        for kept, value in zip(times, row, strict=True):
            if turn and value:  # the first turn warms up
                kept.append(value)
    ours, plain_times, peer = times
    result = {
        "ratio": ratio(plain_times, ours),
        "ratio_to_torchvision": sorted(peer)[len(peer) // 2] / sorted(ours)[len(ours) // 2],
        "rounds": args.rounds,
        "images_a_second": [round(1 / sorted(kept)[len(kept) // 2]) for kept in times],
    }
    show(result, args.json)


def settings(transforms: str) -> Any:
    """The config of a set of small images with these transforms."""
    keys = {
        "DATASETS.TRAIN": f"synthetic:{SAMPLES}x3x32x32x10", "DATASETS.VAL_FRACTION": "0.0", "SOLVER.IMS_PER_BATCH": str(BATCH),
        "INPUT.TRANSFORMS_TRAIN": transforms,
    }  # fmt: skip
    return config.load(config.parse_arguments([word for pair in keys.items() for word in pair]))


def make_path(transforms: str) -> Any:
    """A function that takes an epoch from the loader to normalised floats and gives the seconds an image."""
    cfg = settings(transforms)
    splits = build_splits(cfg)
    loader = make_data_loader(cfg, "train", splits)
    prepare = build_prepare(cfg, splits, torch.device("cpu"), train=True)

    def epoch() -> None:
        for batch in loader:
            prepare(batch)

    return lambda: seconds(epoch) / SAMPLES


class PerSample(Dataset[Tensor]):
    """The usual data set: an array to a picture, through the transforms."""

    def __init__(self, images: Tensor) -> None:
        from torchvision import transforms

        self.images = images.permute(0, 2, 3, 1).contiguous().numpy()
        crop, flip = transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()
        normalise = transforms.Normalize([MEAN] * 3, [STD] * 3)
        self.transform = transforms.Compose([crop, flip, transforms.ToTensor(), normalise])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index]))


def per_sample(images: Tensor) -> float:
    """Seconds an image of torchvision's way."""
    batches: Iterator[Tensor] = iter(DataLoader(PerSample(images), BATCH, shuffle=True, num_workers=WORKERS))
    for _ in range(2 * WORKERS):  # what was fetched ahead while the workers started
        next(batches)
    return seconds(lambda: [next(batches) for _ in range(PEER_BATCHES)]) / (PEER_BATCHES * BATCH)


if __name__ == "__main__":
    main()
