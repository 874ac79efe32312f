"""JPEGs by simplejpeg (the extra `jpeg`), where it is installed: libjpeg-turbo without Pillow's detour.

It gives the pixels that Pillow gives, to the last bit: what it might see otherwise (CMYK, broken files, ...) is left to
Pillow, so that what is a bad sample does not depend on the decoder. Rows below those wanted are not decoded: that is done
only where no marker stands among them, for Pillow calls a file broken for its markers alone. Pixels whose bits are damaged
are no error to either decoder.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import numpy

from data.scratch import scratch

END, FRAME, TABLES, SCAN = b"\xff\xd9", 0xC0, 0xC4, 0xDA  # markers of the format
WHOLE = b"\x00\x3f\x00"  # how the head of a scan of all 64 frequencies ends
MARKER = re.compile(rb"\xff(?![\x00\xd0-\xd7])")  # among pixels, where 0xFF is followed by 0 and restarts may be


def available() -> bool:
    """Whether the fast decoder is installed."""
    return find_spec("simplejpeg") is not None


@cache
def _decoder() -> ModuleType | None:
    if not available():
        return None
    import simplejpeg

    return simplejpeg


def size(data: bytes | memoryview, channels: int) -> tuple[int, int] | None:
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


def decode(data: memoryview, channels: int, size: tuple[int, int], scale: int, rows: int) -> numpy.ndarray | None:
    """At least the upper `rows` (of the whole image) as H x W (grey) or H x W x 3 uint8, scaled down by 1, 2, 4 or 8.

    `data` can be written to, and is afterwards what it was. The memory of the pixels is used again by the thread's next
    call. None of a file that is not whole.
    """
    short = shortened(data, rows)
    if short is None:
        return _decoded(data, channels, size, scale, strict=True)
    place, height = short
    whole = bytes(data[place : place + 2])
    data[place : place + 2] = height.to_bytes(2, "big")
    try:
        return _decoded(data, channels, (height, size[1]), scale, strict=False)  # what follows the rows would be a complaint
    finally:
        data[place : place + 2] = whole


def _decoded(data: memoryview, channels: int, size: tuple[int, int], scale: int, *, strict: bool) -> numpy.ndarray | None:
    decoder = _decoder()
    assert decoder is not None, "size() said that this can be decoded"
    height, width = (-(-side // scale) for side in size)
    try:
        pixels: numpy.ndarray = decoder.decode_jpeg(
            data,
            "RGB" if channels == 3 else "GRAY",
            min_height=height,
            min_width=width,
            min_factor=scale,
            buffer=scratch("pixels", height * width * channels),
            strict=strict,
        )
    except ValueError:
        return None
    if pixels.shape[:2] != (height, width):
        return None
    return pixels[..., 0] if channels == 1 else pixels


def shortened(data: bytes | memoryview, rows: int) -> tuple[int, int] | None:
    """Where in the file its height stands (two bytes), and a smaller one, so that a decoder stops there; None where that
    cannot be.

    The upper `rows` of pixels stay what they are: a row of blocks more is kept, for the colours are smoothed over rows. Done
    only for baseline files of one scan, with no marker between its head and the file's end: others are decoded whole, which
    tells whether they are.
    """
    at, frame = 2, 0
    if data[-2:] != END:
        return None
    while at + 20 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == SCAN:
            break
        if marker == FRAME:
            frame = at
        elif 0xC1 <= marker <= 0xCF and marker != TABLES or marker == 0xFF:
            return None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    else:
        return None
    if not frame or data[at + 4] != data[frame + 9]:  # colours in the scan, colours in the file
        return None
    pixels = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    stray = MARKER.search(data, pixels)
    if data[pixels - 3 : pixels] != WHOLE or stray is None or stray.start() != len(data) - 2:
        return None
    block = 8 * max(data[frame + 11 + 3 * colour] & 15 for colour in range(data[frame + 9]))
    height = (-(-rows // block) + 1) * block
    return (frame + 5, height) if height < int.from_bytes(data[frame + 5 : frame + 7], "big") else None
