"""Scores where a sample has any number of classes: each class is a yes or no. Exact over any number of ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine import distributed
from engine.evaluators import EVALUATORS
from engine.task import Batch, Outputs
from modeling.losses.outputs import entry


@EVALUATORS.register("multilabel")
class MultilabelEvaluator:
    """mAP (macro mean of average precision), f1_macro, f1_micro and subset_accuracy (all classes right).

    A class is predicted where its logit is above 0: its probability is above 1/2. Average precision is the sum of
    precision times gain in recall over all thresholds, equal scores taken at once. Classes without a positive sample
    have none and do not enter mAP; classes with neither targets nor predictions do not enter f1_macro.

    Args:
        num_classes: C.
        device: where logits and targets are kept, 5 C bytes a sample.
    """

    lower_is_better: frozenset[str] = frozenset({"loss"})
    averages = "sigmoid"
    needs = "logits"
    target_kinds = ("labels",)

    def __init__(self, *, num_classes: int, device: torch.device, **_: Any) -> None:
        self.num_classes, self.device = num_classes, device
        self.reset()

    def reset(self) -> None:
        """Forgets all samples."""
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Keeps a batch: logits B x C and targets B x C of 0 and 1."""
        self._logits.append(entry(outputs, "logits").detach().float())
        self._targets.append(batch["target"] > 0.5)

    def compute(self) -> dict[str, float]:
        """Scores as fractions."""
        logits, truth = self._gather()
        hits, predicted, true = _counts(logits, truth)
        support = predicted + true
        precision = self._average_precision(logits, truth)[true > 0]
        f1 = (2 * hits / support.clamp(min=1))[support > 0]
        right = ((logits > 0) == truth).all(dim=1)
        return {
            "mAP": precision.mean().item() if len(precision) else 0.0,
            "f1_macro": f1.mean().item() if len(f1) else 0.0,
            "f1_micro": (2 * hits.sum() / support.sum().clamp(min=1)).item(),
            "subset_accuracy": right.sum().item() / max(len(right), 1),
        }

    def per_class(self) -> dict[str, list[float]]:
        """precision, recall, f1, average_precision (fractions) and support (samples) of each class, 0 where undefined."""
        logits, truth = self._gather()
        hits, predicted, true = _counts(logits, truth)
        return {
            "precision": (hits / predicted.clamp(min=1)).tolist(),
            "recall": (hits / true.clamp(min=1)).tolist(),
            "f1": (2 * hits / (predicted + true).clamp(min=1)).tolist(),
            "average_precision": self._average_precision(logits, truth).tolist(),
            "support": true.tolist(),
        }

    def _gather(self) -> tuple[Tensor, Tensor]:
        """N x C logits and truth of all ranks, on the CPU."""
        empty = torch.empty(0, self.num_classes)
        own = [torch.cat([empty, *(part.cpu() for part in parts)]) for parts in (self._logits, self._targets)]
        logits, truth = zip(*distributed.gather((own[0], own[1] > 0)), strict=True)
        return torch.cat(logits), torch.cat(truth)

    def _average_precision(self, logits: Tensor, truth: Tensor) -> Tensor:
        """C, in float64; 0 for a class without a positive sample."""
        return torch.stack([_average_precision(logits[:, n], truth[:, n]) for n in range(self.num_classes)])


def _counts(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each class, C float64: samples rightly said to have it, said to have it, that have it."""
    said = logits > 0
    return (said & truth).sum(dim=0).double(), said.sum(dim=0).double(), truth.sum(dim=0).double()


def _average_precision(scores: Tensor, truth: Tensor) -> Tensor:
    """Of one class: scores N and truth N. The order of the samples, so the number of ranks, does not enter."""
    order = scores.argsort(descending=True)
    scores, hits = scores[order], truth[order].double().cumsum(dim=0)
    last = torch.ones(len(scores), dtype=torch.bool)  # of samples with equal scores, the last one
    last[:-1] = scores[1:] != scores[:-1]
    hits, found = hits[last], last.nonzero()[:, 0].double() + 1
    total = hits[-1:].clamp(min=1)
    gains = hits.diff(prepend=hits.new_zeros(1))
    return (hits / found * gains / total).sum()
