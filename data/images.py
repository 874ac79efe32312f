"""Image files to tensors. What cannot be read whole is an error that names the file; truncated images never pass."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


class BadSample(Exception):
    """A sample that cannot be read; the message names its path and what is wrong with it."""


def read_image(path: str | Path, channels: int) -> Tensor:
    """The image as channels x H x W uint8; channels is 1 (grey) or 3 (RGB).

    Palettes are resolved, alpha is laid over white, 16-bit greys are scaled to 8 bits.

    Raises:
        BadSample: the file is missing, empty, broken, cut short or no image, or its pixels have no 8-bit meaning
            (floating-point numbers, whole numbers beyond 16 bits).
    """
    try:
        with Image.open(path) as image:
            image.load()
            flat = _eight_bit(image)
            pixels = numpy.array(flat.convert("L" if channels == 1 else "RGB"))
    except FileNotFoundError as error:
        raise BadSample(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        size = Path(path).stat().st_size
        raise BadSample(f"{path}: {'an empty file' if size == 0 else 'no image that Pillow can read'}") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise BadSample(f"{path}: broken image ({' '.join(str(error).split())})") from error
    tensor = torch.from_numpy(pixels)
    return tensor[None] if channels == 1 else tensor.permute(2, 0, 1).contiguous()


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow cuts 16-bit greys off at 255 and drops alpha; this scales the one and blends the other."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose full scale is unknown: convert it to 8 or 16 bits")
    if image.mode.startswith("I"):
        values = numpy.asarray(image).astype(numpy.int64)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise ValueError("pixels beyond 16 bits, whose full scale is unknown: convert it to 8 or 16 bits")
        return Image.fromarray((values // 257 if values.max(initial=0) > 255 else values).astype(numpy.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image
