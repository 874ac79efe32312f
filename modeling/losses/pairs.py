"""Which images of a batch are pairs, for the losses that compare images with each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from modeling.losses.outputs import mean_over_heads


class PairLoss(nn.Module):
    """Compares the images of a batch with each other; a subclass says how."""

    needs = "embedding"
    wants_pairs = True
    target_kinds = ("class", "identity")

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """The entry "embedding", B x D, against batch["target"], B; batch["index"] tells copies of one image apart from another
        image. An image without another of its identity, or of another one, in the batch counts 0; an empty batch has loss 0."""
        pairs = identity_pairs(batch)
        return {"loss": mean_over_heads(outputs["embedding"], lambda features: self._loss(features, *pairs))}

    def _loss(self, features: Tensor, same: Tensor, positive: Tensor) -> Tensor:
        """The loss of B x D features; the pairs as `identity_pairs` gives them."""
        raise NotImplementedError


def too_few_pairs(loss: nn.Module, sampler: str, batch: int, identities: int) -> str:
    """A warning where a loss, or a term of it, learns from pairs and the sampler makes none, so that they come by chance; ""
    where there is nothing to warn of.

    Args:
        batch: samples of one part of a step.
        identities: how many there are to draw from.
    """
    learns = any(getattr(part, "wants_pairs", False) for part in loss.modules())
    if not learns or sampler == "identities" or batch >= 2 * identities:
        return ""
    return (
        f"the loss learns from pairs of one identity, and DATALOADER.SAMPLER {sampler} gives them by chance only: {batch} "
        f"images at a time of {identities} identities; take DATALOADER.SAMPLER identities"
    )


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
