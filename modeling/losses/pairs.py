"""Which images of a batch are pairs, for the losses that compare images with each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def identity_pairs(batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """(same, positive), B x B truths: whether two images are of one identity, and whether they are two different images of
    it. A sampler that fills up an identity repeats images; such a copy is no second image, though it was augmented anew.
    """
    target: Tensor = batch["target"]
    same = target[:, None] == target[None, :]
    itself = torch.eye(len(target), dtype=torch.bool, device=target.device)
    index = batch.get("index")
    if index is not None and len(index) == len(target):  # not so in a batch that only stands in, see Trainer._stand_in
        index = index.to(target.device)
        itself = index[:, None] == index[None, :]
    return same, same & ~itself
