"""Circle loss: similarities that are far from their optimum weigh more."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from layers.distances import cosines
from modeling.arguments import check_range
from modeling.losses import LOSSES
from modeling.losses.pairs import PairLoss


@LOSSES.register("circle")
class CircleLoss(PairLoss):
    """log(1 + sum over negatives of exp(g a_n (s_n - m)) x sum over positives of exp(-g a_p (s_p - (1 - m)))) for each image,
    with the cosines s to the others of the batch and a_n = [s_n + m]+, a_p = [1 + m - s_p]+, which get no gradient
    (Sun et al., Circle loss: a unified perspective of pair similarity optimization, 2020).

    Args:
        margin: m of the formula, 0 to 1.
        gamma: g of the formula, above 0; the paper takes 128 for person re-identification, 256 for faces.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, margin: float = 0.25, gamma: float = 128.0) -> None:
        super().__init__()
        check_range("the loss circle: margin", margin, 0, 1)
        check_range("the loss circle: gamma", gamma, 1e-6)
        self.margin, self.gamma = margin, gamma

    def _loss(self, features: Tensor, same: Tensor, positive: Tensor) -> Tensor:
        similar = cosines(features, features)
        weight_p, weight_n = (1 + self.margin - similar).detach().clamp(min=0), (similar + self.margin).detach().clamp(min=0)
        # An image that lacks positives or negatives comes to 0 by this, and nobody asks the device which do; minus infinity
        # would make its gradient NaN.
        least = torch.finfo(similar.dtype).min
        terms_p = (-self.gamma * weight_p * (similar - 1 + self.margin)).masked_fill(~positive, least)
        terms_n = (self.gamma * weight_n * (similar - self.margin)).masked_fill(same, least)
        terms = functional.softplus(terms_p.logsumexp(dim=1) + terms_n.logsumexp(dim=1))
        return terms.sum() / max(len(features), 1)
