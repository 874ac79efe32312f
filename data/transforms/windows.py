"""Shifted and mirrored windows of many images of one size, each of them a single run of memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from data.buffers import Buffers
from data.transforms.crops_and_flips import Moves

PIECE = 1024  # images mirrored at a time, so that no second copy of all is needed


class Windows:
    """Copies of images laid out so that cutting a window out of the padded image takes no padded image and no copying by rows.

    An image shifted by some rows and columns is the run of memory that begins so much earlier or later. What it brings in
    from the rows, channels and images beside it lies where the padding would, and is then set to 0. Mirrored images are
    kept behind the others. This takes the memory of the images once, or twice with `mirrored`.

    Args:
        images: N x C x H x W uint8.
        padding: pixels on each side from which windows may take zeros.
        mirrored: whether windows may be mirrored.
        frames: of `make_frames`, for that size and padding.
        buffers: of uint8, for the windows that are cut.
    """

    def __init__(self, images: Tensor, padding: int, *, mirrored: bool, frames: numpy.ndarray, buffers: Buffers) -> None:
        count, channels, height, width = images.shape
        self._shape, self._padding, self._buffers = images.shape[1:], padding, buffers
        self._frames = torch.from_numpy(frames)
        self._size, self._margin = channels * height * width, padding * (width + 1)
        self._mirror_images = count * self._size  # where they begin
        copies = 2 if mirrored else 1
        length = copies * self._mirror_images
        # NumPy asks the system for large pages, which are quicker to fill and to find things in. One image more at the
        # end: even of no images there is a window then.
        flat = torch.from_numpy(numpy.empty(length + 2 * self._margin + self._size, numpy.uint8))
        kept = flat[self._margin : self._margin + length].view(copies, *images.shape)
        kept[0].copy_(images)
        for mirror, image in zip(kept[1].split(PIECE), images.split(PIECE), strict=True) if mirrored else ():
            mirror.copy_(image.flip(-1))
        starts = len(flat) - self._size + 1
        self._runs = flat.as_strided((starts, *self._shape), (1, height * width, width, 1))

    def find(self, indices: numpy.ndarray, moves: Moves) -> tuple[numpy.ndarray, numpy.ndarray]:
        """For each sample of B: where its run begins, and the number of the frame that goes over it."""
        top, left, mirrored = moves
        left = numpy.where(mirrored, 2 * self._padding - left, left)
        shift = (top - self._padding) * self._shape[-1] + left - self._padding
        frames = top * (2 * self._padding + 1) + left
        return indices * self._size + mirrored * self._mirror_images + shift + self._margin, frames

    def cut(self, starts: numpy.ndarray, frames: numpy.ndarray) -> Tensor:
        """The windows that were found so: B x C x H x W, in memory of `buffers`."""
        images = self._buffers.take((len(starts), *self._shape))
        torch.index_select(self._runs, 0, torch.from_numpy(starts), out=images)
        if self._padding:
            shown = self._buffers.take((len(starts), self._frames.shape[1]))
            torch.index_select(self._frames, 0, torch.from_numpy(frames), out=shown)
            images.bitwise_and_(shown.view(-1, 1, *self._shape[1:]))
        return images


def make_frames(height: int, width: int, padding: int) -> numpy.ndarray:
    """For every top and left, ones where the window shows the image and zeros where it shows padding: a row each."""
    inside = numpy.pad(numpy.full((height, width), 255, numpy.uint8), padding)
    return sliding_window_view(inside, (height, width)).reshape(-1, height * width).copy()


def frames_size(shape: Sequence[int], padding: int) -> int:
    """Bytes that the frames of windows of images of this shape take."""
    return (2 * padding + 1) ** 2 * shape[-2] * shape[-1]
