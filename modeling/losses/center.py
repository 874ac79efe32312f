"""Center loss: the features of an identity are drawn to a point of their own, which follows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from modeling.arguments import check_range
from modeling.losses import LOSSES
from modeling.losses.outputs import mean_over_heads


@LOSSES.register("center")
class CenterLoss(nn.Module):
    """Half the squared distance of an embedding to the centre of its class (Wen et al., A discriminative feature learning
    approach for deep face recognition, 2016). By itself it is least where all features are one point: it goes with another.

    The centres are no parameters. After each step every one of them moves by the paper's rule, whatever the optimizer, its
    rate and the weight of this loss: by alpha x sum(x_i - c) / (1 + n) over the n images of its class in the step, all
    micro-batches and ranks together. They are saved and resumed with the loss.

    Args:
        num_classes: C.
        feature_dim: D.
        alpha: rate of the centres, 0 to 1.

    Raises:
        UserError: alpha is out of range.
    """

    needs = "embedding"
    target_kinds = ("class", "identity")
    centers: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(self, num_classes: int, feature_dim: int, alpha: float = 0.5) -> None:
        super().__init__()
        check_range("the loss center: alpha", alpha, 0, 1)
        self.alpha = alpha
        self.register_buffer("centers", torch.randn(num_classes, feature_dim))
        # Of the step so far; buffers, so that they are put back where a step is left out. Between steps they are 0.
        self.register_buffer("sums", torch.zeros(num_classes, feature_dim), persistent=False)
        self.register_buffer("counts", torch.zeros(num_classes), persistent=False)

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> dict[str, Tensor]:
        """The entry "embedding", B x D, against batch["target"], B. An empty batch has loss 0. In training what the centres
        see is kept for `end_step`."""
        target = batch["target"]
        counts = self.training and len(batch.get("index", target)) == len(target)  # else it only stands in for none
        return {"loss": mean_over_heads(outputs["embedding"], lambda features: self._loss(features.float(), target, counts))}

    @torch.no_grad()
    def end_step(self, sum_over_ranks: Callable[[Tensor], Tensor]) -> None:
        """After an optimizer step: moves the centres.

        Args:
            sum_over_ranks: adds a tensor up over ranks, in place.
        """
        for part in (self.sums, self.counts):
            sum_over_ranks(part)
        self.centers += self.alpha * self.sums / (1 + self.counts[:, None])
        self.sums.zero_()
        self.counts.zero_()

    def _loss(self, features: Tensor, target: Tensor, counts: bool) -> Tensor:
        far = features - self.centers[target]
        if counts:
            self.sums.index_add_(0, target, far.detach())
            self.counts.index_add_(0, target, torch.ones_like(target, dtype=self.counts.dtype))
        return far.square().sum() / (2 * max(len(target), 1))
