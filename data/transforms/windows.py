"""Shifted and mirrored windows of many images of one size, each of them a single run of memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from data.buffers import Buffers
from data.transforms.crops_and_flips import Moves

PIECE = 1024  # images mirrored at a time, so that no second copy of all is needed


class Windows:
    """Copies of images laid out so that cutting a window out of the padded image takes no padded image and no copying by rows.

    Every row is followed by `padding` zeros and every channel by `padding` rows of zeros, which are also the padding of what
    comes next. So an image shifted by some rows and columns is the run of memory that begins so much earlier or later.
    This takes `laid_out_size` bytes. There is nothing in it before `lay`, and that may be called again.

    Args:
        shape: N x C x H x W, of the images that there is room for.
        padding: pixels on each side from which windows may take zeros.
        buffers: of uint8, for the windows that are cut.
    """

    def __init__(self, shape: Sequence[int], padding: int, buffers: Buffers) -> None:
        self.count, channels, height, width = shape
        self._shape, self._padding, self._buffers = shape[1:], padding, buffers
        self._padded = (channels, height + padding, width + padding)
        self._size, self._margin = math.prod(self._padded), padding * (width + padding + 1)
        length = self.count * self._size
        # NumPy asks the system for large pages, which are quicker to fill and to find things in. One image more at the
        # end: even of no images there is a window then.
        flat = torch.from_numpy(numpy.zeros(length + 2 * self._margin + self._size, numpy.uint8))
        self._images = flat[self._margin : self._margin + length].view(self.count, *self._padded)[..., :height, :width]
        self._runs = flat.as_strided((len(flat) - self._size + 1, self._size), (1, 1))

    def lay(self, first: int, images: Tensor, *, mirrored: bool = False) -> None:
        """Puts images (C x H x W uint8 each) in the places from `first` on."""
        for room, piece in zip(self._images[first : first + len(images)].split(PIECE), images.split(PIECE), strict=True):
            room.copy_(piece.flip(-1) if mirrored else piece)

    def find(self, places: numpy.ndarray, moves: Moves) -> numpy.ndarray:
        """Where the run of each sample of B begins, whose image, mirrored if it is to be so, lies in that place."""
        top, left, mirrored = moves
        left = numpy.where(mirrored, 2 * self._padding - left, left)
        shift = (top - self._padding) * self._padded[-1] + left - self._padding
        return places * self._size + shift + self._margin

    def cut(self, starts: numpy.ndarray) -> Tensor:
        """The windows that begin there: B x C x H x W, a view of memory of `buffers` in which the padding lies between rows."""
        runs = self._buffers.take((len(starts), self._size))
        torch.index_select(self._runs, 0, torch.from_numpy(starts), out=runs)
        _, height, width = self._shape
        return runs.view(-1, *self._padded)[..., :height, :width]


def laid_out_size(shape: Sequence[int], padding: int) -> int:
    """Bytes that the windows of N x C x H x W images take."""
    count, channels, height, width = shape
    return count * channels * (height + padding) * (width + padding)
