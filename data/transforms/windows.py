"""Shifted and mirrored windows of many images of one size, each of them a single run of memory."""

from __future__ import annotations

import numpy
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from data.buffers import Buffers
from data.transforms.crops_and_flips import Moves

KEPT_FRAMES = 2**22  # bytes
PIECE = 1024  # images mirrored at a time, so that no second copy of all is needed
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the bytes of a value


class Windows:
    """Copies of images laid out so that cutting a window out of the padded image takes no padded image and no copying by rows.

    An image shifted by some rows and columns is the run of memory that begins so much earlier or later. What it brings in
    from the rows, channels and images beside it lies where the padding would, and is then set to 0. Mirrored images are
    kept behind the others. This takes the memory of the images once, or twice with `mirrored`.

    Args:
        images: N x C x H x W.
        padding: pixels on each side from which windows may take zeros.
        mirrored: whether windows may be mirrored.
        buffers: of bytes, for the windows that are cut.
    """

    def __init__(self, images: Tensor, padding: int, *, mirrored: bool, buffers: Buffers) -> None:
        count, channels, height, width = images.shape
        self._shape, self._padding, self._buffers = images.shape[1:], padding, buffers
        self._size, self._margin = channels * height * width, padding * (width + 1)
        self._mirror_images = count * self._size  # where they begin
        length = self._mirror_images * (2 if mirrored else 1)
        # One image more at the end: even of no images there is a window then.
        size = length + 2 * self._margin + self._size
        # NumPy asks the system for large pages, which are quicker to fill and to find things in.
        flat = torch.from_numpy(numpy.empty(size * images.element_size(), numpy.uint8)).view(images.dtype)
        kept = flat[self._margin : self._margin + length].view(-1, *images.shape)
        kept[0].copy_(images)
        for mirror, image in zip(kept[1].split(PIECE), images.split(PIECE), strict=True) if mirrored else ():
            mirror.copy_(image.flip(-1))
        self._type, bits = images.dtype, BITS[images.element_size()]
        self._runs = flat.view(bits).unfold(0, self._size, 1)
        # For every top and left, ones where the window shows the image and zeros where it shows padding.
        inside = numpy.pad(numpy.full((height, width), -1, f"i{images.element_size()}"), padding)
        frames = sliding_window_view(inside, (height, width))
        self._frames = frames.copy() if frames.size * frames.itemsize <= KEPT_FRAMES else frames

    def find(self, indices: numpy.ndarray, moves: Moves) -> Moves:
        """For each sample of B: where its run begins, and top and left of the frame that goes over it."""
        top, left, mirrored = moves
        left = numpy.where(mirrored, 2 * self._padding - left, left)
        shift = (top - self._padding) * self._shape[-1] + left - self._padding
        return indices * self._size + mirrored * self._mirror_images + shift + self._margin, top, left

    def cut(self, starts: numpy.ndarray, top: numpy.ndarray, left: numpy.ndarray) -> Tensor:
        """The windows that were found so: B x C x H x W."""
        size = self._size * self._type.itemsize
        images = self._buffers.take((len(starts), size)).view(self._runs.dtype)
        torch.index_select(self._runs, 0, torch.from_numpy(starts), out=images)
        if self._padding:
            images.view(-1, *self._shape).bitwise_and_(torch.from_numpy(self._frames[top, left])[:, None])
        return images.view(self._type).view(-1, *self._shape)
