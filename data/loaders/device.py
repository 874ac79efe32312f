"""The whole set on the device: a batch is one gather there, and per step nothing but its kernels is asked for by the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from data.loaders.bad_samples import Complaint
from data.loaders.loader import Batch, Fetcher, Loader, facts_of
from data.loaders.plan import Plan, Rows, in_blocks
from data.to_device import sent
from data.transforms.crops_and_flips import CropsAndFlips, can_be_batched
from utils import files

SHARE = 0.08  # of the free memory of the device that each split may take, laid out before there is a model; there are three
BLOCK = 2**13  # samples whose places, crops and flips are drawn and sent at once


class DeviceLoader(Loader):
    """For data sets that give `arrays()`, bare or with PadCrop and RandomHorizontalFlip alone; see `why_not_on_device`.

    Order and draws are made on the host, as for every other loader, and so the pixels are the same.

    Args:
        device: where the images lie, padded, from the first iteration on. Any device will do.
    """

    kind = "device"

    def __init__(self, plan: Plan, fetcher: Fetcher, why: str, device: torch.device, *, max_bad: float = 0.01) -> None:
        super().__init__(plan, fetcher, why, max_bad=max_bad)
        self.device = device
        self._moves = CropsAndFlips(fetcher.transforms) if fetcher.transforms else None
        self._images: Tensor | None = None
        self._size: Sequence[int] = ()  # height and width
        self._facts: dict[str, Tensor] = {}  # what each sample has beside its image, "target" among it

    def _fetch_all(self, epoch: int, batches: list[Rows]) -> Iterator[tuple[Batch | None, list[Complaint]]]:
        images = self._lay() if self._images is None else self._images
        for indices, positions, sizes in in_blocks(batches, BLOCK):
            index = sent(torch.from_numpy(indices).long(), self.device)
            pixels = self._pixels(index, epoch, positions)
            for mine, *places in zip(*(each.split(sizes) for each in (index, *pixels)), strict=True):
                facts = {name: values.index_select(0, mine) for name, values in self._facts.items()}
                yield {"image": _gathered(images, mine, places), **facts, "index": mine}, []

    def _lay(self) -> Tensor:
        arrays = self.dataset.arrays()
        assert arrays is not None, "the device loader needs a data set that gives arrays()"
        self._facts = {name: values.to(self.device) for name, values in facts_of(self.dataset, arrays[1]).items()}
        padding = self._moves.padding if self._moves is not None else 0
        images, self._size = arrays[0].to(self.device), arrays[0].shape[-2:]
        self._images = functional.pad(images, (padding,) * 4) if padding else images
        return self._images

    def _pixels(self, index: Tensor, epoch: int, positions: numpy.ndarray) -> list[Tensor]:
        """Which rows (B x H x 1) and columns (B x 1 x W) of the padded images the samples show; nothing for whole images."""
        if self._moves is None:
            return []
        height, width = self._size
        moves = numpy.stack(self._moves.draw(self.fetcher.seed, epoch, positions))
        top, left, mirrored = sent(torch.from_numpy(moves), self.device)[..., None]
        down, across = (torch.arange(side, device=self.device) for side in (height, width))
        columns = left + torch.where(mirrored.bool(), width - 1 - across, across)
        return [(top + down)[..., None], columns[:, None]]


def _gathered(images: Tensor, index: Tensor, places: list[Tensor]) -> Tensor:
    """B x C x H x W; of windows the channels lie last in memory, for that is how one gather gives them."""
    if not places:
        return images.index_select(0, index)
    rows, columns = places
    return images[index[:, None, None], :, rows, columns].permute(0, 3, 1, 2)


def why_not_on_device(fetcher: Fetcher, free: int) -> str:
    """Why a data set that lies in memory cannot lie on the device, with `free` bytes there; "" where it can."""
    arrays, transforms = fetcher.dataset.arrays(), fetcher.transforms
    assert arrays is not None
    images = arrays[0]
    if transforms and not (images.ndim == 4 and images.dtype == torch.uint8 and can_be_batched(transforms)):
        alone = [type(one).__name__ for one in transforms if not can_be_batched([one])] or [type(transforms[0]).__name__]
        return f"{', '.join(alone)} takes one sample after another"
    padding = 2 * CropsAndFlips(transforms).padding if transforms else 0
    height, width = images.shape[-2:] if transforms else (1, 1)
    size = images.nbytes * (height + padding) * (width + padding) // (height * width)
    if size > SHARE * free:
        return f"{files.size(size)} is more than {SHARE:.0%} of the {files.size(free)} that are free there"
    return ""
