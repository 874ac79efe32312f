"""Cross entropy with label smoothing and class weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from modeling.losses import LOSSES
from modeling.losses.dense_targets import class_weights_tensor
from modeling.losses.outputs import entry, mean_over_heads

FEW = 32  # classes up to which torch's kernel for one sample after another takes thrice the time


@LOSSES.register("cross_entropy")
class CrossEntropy(nn.Module):
    """Softmax cross entropy of class targets, hard (a class number) or soft (a share of each class).

    The loss is the *sum over samples divided by their number*, also with class weights (torch divides by the sum of the
    weights): only so do micro-batches and ranks, weighted by their sample counts, add up to the whole batch. Weights are
    scaled to a mean of 1 over classes. A soft target counts as the mean of its hard ones, by their shares.

    Args:
        num_classes: C.
        label_smoothing: share of the target spread evenly over all classes (Szegedy et al., 2016).
        class_weights: C weights, or () for equal ones.

    Raises:
        UserError: the number of weights is not C.
    """

    needs = "logits"
    soft_targets = True
    target_kinds = ("class", "identity")
    weight: Tensor | None

    def __init__(self, num_classes: int, label_smoothing: float = 0.0, class_weights: Sequence[float] = ()) -> None:
        super().__init__()
        self.register_buffer("weight", class_weights_tensor(class_weights, num_classes), persistent=False)
        self.label_smoothing = label_smoothing

    def forward(self, outputs: Tensor | dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Logits B x C (or the entry "logits") against batch["target"], B or B x C. An empty batch has loss 0."""
        target = batch["target"]
        target = target.to(torch.float32) if target.is_floating_point() else target
        return {"loss": mean_over_heads(entry(outputs, "logits"), lambda logits: self._loss(logits, target))}

    def of_batches(self, logits: Tensor, target: Tensor) -> Tensor:
        """The losses of K batches: K x B x C logits (or, of P heads, K x B x P x C), K x B targets -> K."""
        if logits.ndim == 4:
            return torch.stack([self.of_batches(head, target) for head in logits.unbind(2)]).mean(dim=0)
        logits = logits.float().transpose(1, 2)  # as K samples of B places, see below
        terms = functional.cross_entropy(logits, target, self.weight, reduction="none", label_smoothing=self.label_smoothing)
        return terms.mean(dim=1)

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        count, logits = max(logits.shape[0], 1), logits.float()
        if logits.device.type == "cpu" and not logits.requires_grad and logits.ndim == 2 and logits.shape[1] <= FEW:
            logits, target = logits.t()[None], target.t()[None]  # as one sample of B places: goes along samples, not classes
        if self.weight is None and not self.label_smoothing and logits.ndim == 2 and target.ndim == 1 and len(target):
            return functional.cross_entropy(logits, target)  # the same in one operation
        total = functional.cross_entropy(logits, target, self.weight, reduction="sum", label_smoothing=self.label_smoothing)
        return total / count
