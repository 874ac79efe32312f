"""Image files to tensors. What cannot be read whole is an error that names the file; truncated images never pass."""

from __future__ import annotations

import functools
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from data import jpeg
from data.scratch import in_scratch, scratch

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


class BadSample(Exception):
    """A sample that cannot be read; the message names its path and what is wrong with it."""


class Region(NamedTuple):
    """The part of an image that is wanted (pixels of the whole), and the size (height, width) it will be resized to."""

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]


Choose = Callable[[int, int], Region]  # from the height and width of the whole image
Finish = Callable[[Tensor], Tensor]


def read_image(
    path: str | Path,
    channels: int,
    choose: Choose | None = None,
    finish: Finish | None = None,
    *,
    contents: Callable[[], memoryview] | None = None,
) -> Tensor:
    """The image, or the region of it that `choose` says, as channels x H x W uint8; channels is 1 (grey) or 3 (RGB).

    Palettes are resolved, alpha is laid over white, 16-bit greys are scaled to 8 bits. A region of a JPEG that is at least
    twice, four or eight times as large as the size wanted is decoded at 1/2, 1/4 or 1/8 of its size, its borders rounded to
    such pixels: that is far faster, and differs by little from resizing the whole. The pixels are the same with whichever
    decoder is installed. What is returned is what `finish` makes of them, where it is given: that saves a copy. Where the bytes
    are not to be read from `path`, `contents` gives them, in memory that can be written to.

    Raises:
        BadSample: the file is missing, empty, broken, cut short or no image, or its pixels have no 8-bit meaning
            (floating-point numbers, whole numbers beyond 16 bits).
    """
    data = memoryview(b"")
    choose = functools.cache(choose) if choose is not None else _whole  # it may draw: it is asked once
    try:
        data = _contents(path) if contents is None else contents()
        pixels = _jpeg_pixels(data, channels, choose)
        if pixels is None:
            pixels = _pixels(data, channels, choose)
    except FileNotFoundError as error:
        raise BadSample(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise BadSample(f"{path}: {'no image that Pillow can read' if data else 'an empty file'}") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise BadSample(f"{path}: broken image ({' '.join(str(error).split())})") from error
    # views by NumPy: each operation of torch lets go of Python's lock, and other threads then have to be waited for
    tensor = torch.from_numpy(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1))
    finished = finish(tensor) if finish is not None else tensor
    return finished.clone() if in_scratch(finished.data_ptr()) else finished


def _contents(path: str | Path) -> memoryview:
    """The bytes of a file, in memory that the thread's next call uses again."""
    with open(path, "rb", buffering=0) as file:
        size, filled = os.fstat(file.fileno()).st_size, 0
        memory = scratch("file", size).data[:size]
        while filled < size and (got := file.readinto(memory[filled:])):  # file systems may give less than they are asked for
            filled += got
        return memory[:filled]


def _whole(height: int, width: int) -> Region:
    return Region(0, 0, height, width, (height, width))


def _jpeg_pixels(data: memoryview, channels: int, choose: Choose) -> numpy.ndarray | None:
    """The region's H x W (x 3) pixels by the fast decoder, in memory that the thread's next call uses again; None where it is
    not installed or not sure of this file."""
    size = jpeg.size(data, channels)
    if size is None or size[0] * size[1] > (Image.MAX_IMAGE_PIXELS or math.inf):  # Pillow warns of it or refuses it
        return None
    region = choose(*size)
    scale = _scale(region)
    pixels = jpeg.decode(data, channels, size, scale, region.top + region.height)
    return None if pixels is None else _cut(pixels, region, scale)


def _pixels(data: memoryview, channels: int, choose: Choose) -> numpy.ndarray:
    """The same by Pillow, which reads any format."""
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        region = choose(height, width)
        scale = _scale(region) if isinstance(image, JpegImageFile) else 1
        if scale > 1:
            image.draft(None, (width // scale, height // scale))
        image.load()
        flat = _eight_bit(image).convert("L" if channels == 1 else "RGB")
        return _cut(numpy.array(flat), region, scale)


def _scale(region: Region) -> int:
    """By how much a JPEG may be scaled down before its region would be smaller than what is wanted: 1, 2, 4 or 8."""
    room = min(region.height // region.size[0], region.width // region.size[1])
    return next(scale for scale in (8, 4, 2, 1) if scale <= max(room, 1))


def _cut(pixels: numpy.ndarray, region: Region, scale: int) -> numpy.ndarray:
    """The region of an image that was scaled down, a view of it."""
    top, left = region.top // scale, region.left // scale
    return pixels[top : top + region.height // scale, left : left + region.width // scale]


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
