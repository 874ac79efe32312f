"""Images of 32 x 32 x 3 in memory, pad-crop, flip, normalise: images a second over the same path without augmentation.

    python -m benchmarks.small_images [--json] [--rounds 7]

One thread, batches of 128, from the memory loader to normalised floats. The loader lays out the images once before: that is
not in the ratio, but its seconds and bytes stand beside it. Beside it, with two threads, torchvision's transforms sample by
sample in a DataLoader with two workers, as its documentation writes them; its workers start before the clock does.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import config
from benchmarks.common import MEAN, STD, arguments, ratio, seconds, show, spread
from data import build_prepare, build_splits, make_data_loader
from data.buffers import Buffers
from data.transforms.windows import Windows

SAMPLES, BATCH, WORKERS, PADDING = 20_000, 128, 2, 4
PEER_BATCHES, PEER_ROUNDS = 24, 5


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__, rounds=7)
    torch.set_num_threads(1)
    moved, plain = make_path("['PadCrop', 'RandomHorizontalFlip']"), make_path("()")
    images = build_splits(settings("()")).train.arrays()
    assert images is not None
    moved(), plain()  # warms up
    ours, plain_times = zip(*((moved(), plain()) for _ in range(args.rounds)), strict=True)
    laid = laying_out(images[0], args.rounds)
    torch.set_num_threads(WORKERS)
    moved()
    beside, peer = zip(*((moved(), per_sample(images[0])) for _ in range(PEER_ROUNDS)), strict=True)
    result = {
        "ratio": ratio(plain_times, ours), "spread": spread(plain_times, ours), "rounds": args.rounds,
        "ratio_to_torchvision": ratio(peer, beside), "spread_to_torchvision": spread(peer, beside),
        "rounds_of_torchvision": PEER_ROUNDS,
        "images_a_second": [round(1 / statistics.median(times)) for times in (ours, plain_times, beside, peer)],
        **laid,
    }  # fmt: skip
    show(result, args.json)


def laying_out(images: Tensor, rounds: int) -> dict[str, float]:
    """What the loader does once, before the first epoch: its seconds, and the bytes that the images take besides their own."""

    def lay() -> int:
        windows = Windows((2 * len(images), *images.shape[1:]), PADDING, Buffers(numpy.uint8))
        windows.lay(0, images)
        windows.lay(len(images), images, mirrored=True)
        return windows._runs.untyped_storage().nbytes()

    return {
        "laying_out_s": statistics.median(seconds(lay) for _ in range(rounds)), "laying_out_bytes": lay(),
        "image_bytes": images.nbytes,
    }  # fmt: skip


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
