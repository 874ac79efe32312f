"""Shifted and mirrored windows of many images of one size, each of them a single run of memory."""

from __future__ import annotations

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
    Mirrored images are kept behind the others. This takes `laid_out_size` bytes.

    Args:
        images: N x C x H x W uint8.
        padding: pixels on each side from which windows may take zeros.
        mirrored: whether windows may be mirrored.
        buffers: of uint8, for the windows that are cut.
    """

    def __init__(self, images: Tensor, padding: int, *, mirrored: bool, buffers: Buffers) -> None:
        count, channels, height, width = images.shape
        self._shape, self._padding, self._buffers = images.shape[1:], padding, buffers
        self._padded = (channels, height + padding, width + padding)
        self._size, self._margin = int(numpy.prod(self._padded)), padding * (width + padding + 1)
        self._mirror_images = count * self._size  # where they begin
        copies = 2 if mirrored else 1
        length = copies * self._mirror_images
        # NumPy asks the system for large pages, which are quicker to fill and to find things in. One image more at the
        # end: even of no images there is a window then.
        flat = torch.from_numpy(numpy.zeros(length + 2 * self._margin + self._size, numpy.uint8))
        kept = flat[self._margin : self._margin + length].view(copies, count, *self._padded)[..., :height, :width]
        kept[0].copy_(images)
        for mirror, image in zip(kept[1].split(PIECE), images.split(PIECE), strict=True) if mirrored else ():
            mirror.copy_(image.flip(-1))
        self._runs = flat.as_strided((len(flat) - self._size + 1, self._size), (1, 1))

    def find(self, indices: numpy.ndarray, moves: Moves) -> numpy.ndarray:
        """Where the run of each sample of B begins."""
        top, left, mirrored = moves
        left = numpy.where(mirrored, 2 * self._padding - left, left)
        shift = (top - self._padding) * self._padded[-1] + left - self._padding
        return indices * self._size + mirrored * self._mirror_images + shift + self._margin

    def cut(self, starts: numpy.ndarray) -> Tensor:
        """The windows that begin there: B x C x H x W, a view of memory of `buffers` in which the padding lies between rows."""
        runs = self._buffers.take((len(starts), self._size))
        torch.index_select(self._runs, 0, torch.from_numpy(starts), out=runs)
        _, height, width = self._shape
        return runs.view(-1, *self._padded)[..., :height, :width]


def laid_out_size(shape: Sequence[int], padding: int, *, mirrored: bool = False) -> int:
    """Bytes that the windows of N x C x H x W images take."""
    count, channels, height, width = shape
    return count * channels * (height + padding) * (width + padding) * (2 if mirrored else 1)
