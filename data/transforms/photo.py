"""ColorJitter, RandAugment and TrivialAugment: torchvision's v2 kernels by their bare names, for uint8 images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import torch

from data.transforms import TRANSFORMS
from data.transforms.adapter import TorchvisionTransform
from data.transforms.arguments import whole_number
from utils.errors import UserError

Span = float | Sequence[float]  # x: from 1 - x to 1 + x (hue: from -x to x); or [least, greatest]


def _run(name: str, transform: TorchvisionTransform, sample: dict[str, Any], rng: numpy.random.Generator) -> dict[str, Any]:
    """The transform on the image alone, which has to be grey or RGB."""
    image = sample["image"]
    if image.dtype != torch.uint8 or image.ndim != 3 or len(image) not in (1, 3):
        raise UserError(
            f"INPUT.TRANSFORMS_TRAIN: {name} takes uint8 images of 1 or 3 channels, these are {image.dtype} of shape "
            f"{list(image.shape)}; leave it out"
        )
    return {**sample, "image": transform({"image": image}, rng)["image"]}


def _no_mask(name: str, sample: dict[str, Any]) -> None:
    if "mask" in sample:
        raise UserError(f"INPUT.TRANSFORMS_TRAIN: {name} moves pixels and the mask would not follow; take ColorJitter")


@TRANSFORMS.register("ColorJitter")
class ColorJitter:
    """Random brightness, contrast, saturation and hue, in random order (Howard, Some improvements on deep CNNs, 2013).

    Grey images keep to brightness and contrast. A "mask" is left alone.

    Args:
        brightness, contrast, saturation: factor, x for 1 - x to 1 + x, or [least, greatest]; 0 leaves it alone.
        hue: shares of the colour circle, x for -x to x with x up to 0.5, or [least, greatest].

    Raises:
        UserError: an argument out of range.
    """

    in_threads = False

    def __init__(self, brightness: Span = 0.4, contrast: Span = 0.4, saturation: Span = 0.4, hue: Span = 0.0) -> None:
        self._transform = TorchvisionTransform(
            "ColorJitter", brightness=brightness, contrast=contrast, saturation=saturation, hue=hue
        )

    def __call__(self, sample: dict[str, Any], rng: numpy.random.Generator) -> dict[str, Any]:
        return _run("ColorJitter", self._transform, sample, rng)


@TRANSFORMS.register("RandAugment")
class RandAugment:
    """`num_ops` random operations of one strength (Cubuk et al., RandAugment, 2020; the paper's N = 2, M = 9).

    Args:
        num_ops: N, operations on each image, >= 1.
        magnitude: M, strength, 0 to num_magnitude_bins - 1.
        num_magnitude_bins: steps from no effect to the strongest.

    Raises:
        UserError: an argument out of range.
    """

    in_threads = False

    def __init__(self, num_ops: int = 2, magnitude: int = 9, num_magnitude_bins: int = 31) -> None:
        whole_number("RandAugment", "num_magnitude_bins", num_magnitude_bins, 2)
        whole_number("RandAugment", "magnitude", magnitude, 0, num_magnitude_bins - 1)
        whole_number("RandAugment", "num_ops", num_ops, 1)
        self._transform = TorchvisionTransform(
            "RandAugment", num_ops=num_ops, magnitude=magnitude, num_magnitude_bins=num_magnitude_bins
        )

    def __call__(self, sample: dict[str, Any], rng: numpy.random.Generator) -> dict[str, Any]:
        _no_mask("RandAugment", sample)
        return _run("RandAugment", self._transform, sample, rng)


@TRANSFORMS.register("TrivialAugment")
class TrivialAugment:
    """One random operation of random strength, of the wide range (Mueller and Hutter, TrivialAugment, ICCV 2021).

    Args:
        num_magnitude_bins: steps from no effect to the strongest.

    Raises:
        UserError: an argument out of range.
    """

    in_threads = False

    def __init__(self, num_magnitude_bins: int = 31) -> None:
        whole_number("TrivialAugment", "num_magnitude_bins", num_magnitude_bins, 2)
        self._transform = TorchvisionTransform("TrivialAugmentWide", num_magnitude_bins=num_magnitude_bins)

    def __call__(self, sample: dict[str, Any], rng: numpy.random.Generator) -> dict[str, Any]:
        _no_mask("TrivialAugment", sample)
        return _run("TrivialAugment", self._transform, sample, rng)
