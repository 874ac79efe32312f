"""Mixup and CutMix: new training samples out of two, with targets that say how much of each is in them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from data.randomness import BATCH, generator
from data.to_device import sent


class Mixing:
    """Mixes each image of a batch with another one of that batch, and their targets in the same shares.

    All draws are a function of (seed, epoch, window): every micro-batch and rank of a step gets the same choice, the
    same share and the same patch. Partners come from within the micro-batch, so that nothing travels between ranks: of two
    ranks or accumulated batches an image may get another partner than of one.

    Args:
        num_classes: C.
        mixup_alpha: Beta(alpha, alpha) draws the share (Zhang et al., mixup, ICLR 2018); 0 for no mixup.
        cutmix_alpha: the same for the area that is kept (Yun et al., CutMix, ICCV 2019); 0 for no CutMix. With both, each
            mixed step takes one of them, equally often.
        prob: share of the steps that are mixed.
        seed: SEED.
    """

    def __init__(self, num_classes: int, *, mixup_alpha: float, cutmix_alpha: float, prob: float, seed: int) -> None:
        assert mixup_alpha > 0 or cutmix_alpha > 0, "mixing needs one alpha above 0"
        self.num_classes, self.mixup_alpha, self.cutmix_alpha = num_classes, mixup_alpha, cutmix_alpha
        self.prob, self.seed = prob, seed

    def __call__(self, image: Tensor, target: Tensor, position: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Images B x C x H x W (floats) and targets B (class numbers) or B x C (shares) -> the same, targets B x C.

        Unmixed steps give B x C too: a loss sees one kind of target throughout. `image` is not written to.
        """
        epoch, window = position
        rng = generator(self.seed, BATCH, epoch, window)
        soft = target if target.is_floating_point() else functional.one_hot(target, self.num_classes).float()
        if rng.random() >= self.prob:
            return image, soft
        cut = self.cutmix_alpha > 0 and (self.mixup_alpha == 0 or rng.random() < 0.5)
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        share = float(rng.beta(alpha, alpha))
        centre = rng.random(2)
        partner = sent(torch.from_numpy(rng.permutation(len(image))), image.device)
        if cut:
            top, bottom, left, right = _box(share, centre.tolist(), image.shape[-2:])
            mixed = image.clone()
            mixed[..., top:bottom, left:right] = image[partner, ..., top:bottom, left:right]
            # The patch may have been cut off at the border, so its true area counts.
            share = 1 - (bottom - top) * (right - left) / (image.shape[-2] * image.shape[-1])
        else:
            mixed = torch.lerp(image[partner], image, share)
        return mixed, torch.lerp(soft[partner], soft, share)


def _box(share: float, centre: list[float], size: torch.Size) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) in pixels of a patch that leaves `share` of the area, where it lies inside the image."""
    edges = []
    for place, side in zip(centre, size, strict=True):
        half = side * math.sqrt(1 - share) / 2
        middle = int(place * side)
        edges += [max(round(middle - half), 0), min(round(middle + half), side)]
    top, bottom, left, right = edges
    return top, bottom, left, right
