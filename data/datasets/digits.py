"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels, ten classes; nothing is downloaded."""

from __future__ import annotations

import torch

from data.dataset import ArrayDataset, Dataset, Part
from data.datasets import DATASETS
from data.splits import stratified


@DATASETS.register("digits")
def digits(place: str, root: str, train: bool, seed: int) -> Dataset:
    """A stratified fifth is the test part. Pixels of 0 to 16 are stretched to 0 to 255.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    from sklearn.datasets import load_digits  # slow to import

    raw = load_digits()
    pixels = torch.from_numpy(raw.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    whole = ArrayDataset(
        "digits", pixels, torch.from_numpy(raw.target).long(), [str(n) for n in range(10)], mean=[0.305], std=[0.376]
    )
    kept, held_out = stratified(whole.targets, 0.2, seed)
    return Part(whole, kept if train else held_out)
