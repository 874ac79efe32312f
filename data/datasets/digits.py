"""scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels, ten classes; nothing is downloaded."""

from __future__ import annotations

import torch
from torch import Tensor

from data.dataset import ArrayDataset, Dataset
from data.datasets import DATASETS
from data.identities import IdentityArrays, View
from data.splits import stratified


@DATASETS.register("digits")
def digits(root: str, train: bool, seed: int) -> Dataset:
    """A stratified fifth is the test part. Pixels of 0 to 16 are stretched to 0 to 255.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    pixels, targets = _read()
    whole = ArrayDataset("digits", pixels, targets, [str(n) for n in range(10)], mean=[0.305], std=[0.376])
    kept, held_out = stratified(whole.targets, 0.2, seed)
    return whole.part(kept if train else held_out)


@DATASETS.register("digit_identities")
def digit_identities(root: str, train: bool, seed: int) -> Dataset | None:
    """The same images for retrieval: a digit is an identity, no camera is known, and whole digits are held out for test."""
    if not train:
        return None
    pixels, targets = _read()
    views = [View(f"digits[{index}]", str(digit), camera=-1) for index, digit in enumerate(targets.tolist())]
    return IdentityArrays("digit_identities", pixels, views, mean=[0.305], std=[0.376])


def _read() -> tuple[Tensor, Tensor]:
    """N x 1 x 8 x 8 uint8 and N class numbers."""
    from sklearn.datasets import load_digits  # slow to import

    raw = load_digits()
    return torch.from_numpy(raw.images).mul(255 / 16).round().to(torch.uint8)[:, None], torch.from_numpy(raw.target).long()
