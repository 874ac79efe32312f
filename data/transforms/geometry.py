"""Transforms of place. An image and the "mask" beside it get the same draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy
from torch import Tensor
from torch.nn import functional

from data.images import Region
from data.transforms import TRANSFORMS

Sample = dict[str, Any]


def _both(sample: Sample, act: Any) -> Sample:
    """`act(tensor, is_mask)` on the image and, where there is one, on the mask."""
    changed: Sample = {key: act(sample[key], key == "mask") for key in ("image", "mask") if key in sample}
    return {**sample, **changed}


def _size(size: int | Sequence[int]) -> tuple[int, int]:
    sides = [size] if isinstance(size, int) else list(size)
    return (sides[0], sides[-1])


def _resize(tensor: Tensor, size: tuple[int, int], is_mask: bool) -> Tensor:
    if tensor.shape[-2:] == size:
        return tensor
    flat = tensor[None] if tensor.ndim == 2 else tensor
    if is_mask:
        from torchvision.transforms.v2 import functional as F  # slow to import

        resized = F.resize(flat, list(size), interpolation=F.InterpolationMode.NEAREST)
    else:  # what torchvision does, bit by bit, without what it does around it
        # As [None], but with the stride of a whole image: torch would sort one that lies pixel by pixel into planes
        batch = flat.as_strided((1, *flat.shape), (flat.shape[1] * flat.stride(1), *flat.stride()))
        resized = functional.interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)[0]
    return resized[0] if tensor.ndim == 2 else resized


@TRANSFORMS.register("RandomHorizontalFlip")
class RandomHorizontalFlip:
    """Mirrors left and right with probability `prob`."""

    in_threads = True

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def __call__(self, sample: Sample, rng: numpy.random.Generator) -> Sample:
        return _both(sample, lambda t, _: t.flip(-1)) if rng.random() < self.prob else sample


@TRANSFORMS.register("PadCrop")
class PadCrop:
    """Pads with zeros and cuts a window of the old size at a random place.

    Args:
        padding: pixels on each side.
    """

    in_threads = True

    def __init__(self, padding: int = 4) -> None:
        self.padding = padding

    def __call__(self, sample: Sample, rng: numpy.random.Generator) -> Sample:
        top, left = rng.integers(0, 2 * self.padding + 1, size=2).tolist()
        height, width = sample["image"].shape[-2:]
        around = (self.padding,) * 4
        return _both(sample, lambda t, _: functional.pad(t, around)[..., top : top + height, left : left + width])


@TRANSFORMS.register("Resize")
class Resize:
    """To `size`: [height, width] or one number for both (pixels); bilinear with antialias, masks by nearest."""

    in_threads = True

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _size(size)

    def __call__(self, sample: Sample, rng: numpy.random.Generator) -> Sample:
        return _both(sample, lambda t, is_mask: _resize(t, self.size, is_mask))

    def region(self, height: int, width: int, rng: numpy.random.Generator) -> Region:
        """The whole image."""
        return Region(0, 0, height, width, self.size)

    def fit(self, image: Tensor) -> Tensor:
        """The region of an image (C x H x W), resized."""
        return _resize(image, self.size, is_mask=False)


@TRANSFORMS.register("CenterCrop")
class CenterCrop:
    """The middle `size` pixels; smaller images are padded with zeros first."""

    in_threads = True

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _size(size)

    def __call__(self, sample: Sample, rng: numpy.random.Generator) -> Sample:
        def cut(tensor: Tensor, is_mask: bool) -> Tensor:
            from torchvision.transforms.v2 import functional as F  # slow to import

            return F.center_crop(tensor, list(self.size))

        return _both(sample, cut)


@TRANSFORMS.register("RandomResizedCrop")
class RandomResizedCrop:
    """A window of random area and shape, resized (Szegedy et al., Going deeper with convolutions, 2015).

    Args:
        size: pixels, [height, width] or one number.
        scale: least and greatest area, shares of the image; cut off at 1.
        ratio: least and greatest width over height.
    """

    in_threads = True

    def __init__(
        self, size: int | Sequence[int], scale: Sequence[float] = (0.08, 1.0), ratio: Sequence[float] = (3 / 4, 4 / 3)
    ) -> None:
        self.size, self.ratio = _size(size), ratio
        self.scale = (min(scale[0], 1.0), min(scale[1], 1.0))

    def __call__(self, sample: Sample, rng: numpy.random.Generator) -> Sample:
        height, width = sample["image"].shape[-2:]
        top, left, tall, wide, _ = self.region(height, width, rng)
        return _both(sample, lambda t, m: _resize(t[..., top : top + tall, left : left + wide], self.size, m))

    def region(self, height: int, width: int, rng: numpy.random.Generator) -> Region:
        """The window of an image of that many pixels."""
        for _ in range(10):
            area = height * width * rng.uniform(*self.scale)
            aspect = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < wide <= width and 0 < tall <= height:
                return Region(int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1)), tall, wide, self.size)
        side = min(height, width)
        return Region((height - side) // 2, (width - side) // 2, side, side, self.size)

    def fit(self, image: Tensor) -> Tensor:
        """The region of an image (C x H x W), resized."""
        return _resize(image, self.size, is_mask=False)
