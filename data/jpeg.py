"""JPEGs by simplejpeg (the extra `jpeg`), where it is installed: libjpeg-turbo without Pillow's detour.

It gives the pixels that Pillow gives, to the last bit: what it might see otherwise (CMYK, broken files, ...) is left to
Pillow, so that what is a bad sample does not depend on the decoder.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from types import ModuleType

import numpy


def available() -> bool:
    """Whether the fast decoder is installed."""
    return find_spec("simplejpeg") is not None


@cache
def _decoder() -> ModuleType | None:
    if not available():
        return None
    import simplejpeg

    return simplejpeg


def size(data: bytes, channels: int) -> tuple[int, int] | None:
    """(height, width) of a JPEG that `decode` can take; None of anything else."""
    decoder = _decoder()
    if decoder is None or data[:2] != b"\xff\xd8":
        return None
    try:
        height, width, colours, _ = decoder.decode_jpeg_header(data)
    except ValueError:
        return None
    # Pillow makes grey of RGB, not of the file's own luminance, which differs by a rounding
    fits = colours == "Gray" or (colours == "YCbCr" and channels == 3)
    return (height, width) if fits else None


def decode(data: bytes, channels: int, size: tuple[int, int], scale: int) -> numpy.ndarray | None:
    """The image as H x W (grey) or H x W x 3 uint8, scaled down by 1, 2, 4 or 8; None of a file that is not whole."""
    decoder = _decoder()
    assert decoder is not None, "size() said that this can be decoded"
    height, width = (-(-side // scale) for side in size)
    try:
        pixels: numpy.ndarray = decoder.decode_jpeg(
            data, "RGB" if channels == 3 else "GRAY", min_height=height, min_width=width, min_factor=scale
        )
    except ValueError:
        return None
    if pixels.shape[:2] != (height, width):
        return None
    return pixels[..., 0] if channels == 1 else pixels
