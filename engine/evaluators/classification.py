"""Scores of a classifier: counts on the device, exact over any number of ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine import distributed
from engine.evaluators import EVALUATORS
from engine.task import Batch, Outputs
from modeling.losses.outputs import entry

AT_ONCE = 2**17  # logits that are counted together: 512 kB, which a cache holds


def highest(logits: Tensor) -> Tensor:
    """The class of the highest of C x N float32 logits, N: `logits.argmax(dim=0)`, in a fraction of its time on a CPU. Of equal
    ones it is the first; NaN is the highest."""
    tops = compared(torch.eq, logits, logits.amax(dim=0)).add_(compared(torch.ne, logits, logits))  # only NaN is unlike itself
    return len(logits) - tops.mul_(len(logits) - _classes(logits)).amax(dim=0).long()


def behind(logits: Tensor, target: Tensor) -> Tensor:
    """How many of C x N float32 logits are no higher than that of the target, N, itself included: of equal ones the later
    classes; of NaN none."""
    own = logits.gather(0, target[None])
    later = compared(torch.eq, logits, own).mul_(compared(torch.ge, _classes(logits), target.to(logits.dtype)))
    return compared(torch.lt, logits, own).add_(later).sum(dim=0)


def compared(how: Callable[..., Tensor], one: Tensor, other: Tensor) -> Tensor:
    """Ones and zeros of the type of both; on a CPU these are made many at a time, and truth values one by one."""
    shape = torch.broadcast_shapes(one.shape, other.shape)
    return how(one, other, out=one.new_empty(shape))


def _classes(logits: Tensor) -> Tensor:
    return torch.arange(len(logits), dtype=logits.dtype, device=logits.device)[:, None]


@EVALUATORS.register("classification")
class ClassificationEvaluator:
    """top1, top5 (for more than five classes) and macro F1, from a confusion matrix and one more count.

    Args:
        num_classes: number of classes C.
        device: where the counts are kept.
    """

    lower_is_better: frozenset[str] = frozenset({"loss"})
    averages = "softmax"
    needs = "logits"
    target_kinds = ("class",)

    def __init__(self, *, num_classes: int, device: torch.device, **_: Any) -> None:
        self.num_classes = num_classes
        self._confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
        self._in_top5 = torch.zeros((), dtype=torch.int64, device=device)
        self.reset()

    def reset(self) -> None:
        """Forgets all samples."""
        self._confusion.zero_()
        self._in_top5.zero_()
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._kept = 0

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Takes a batch, logits B x C and targets B; some batches are counted together, which costs less than one by one."""
        logits = entry(outputs, "logits")
        self._logits.append(logits)
        self._targets.append(batch["target"])
        self._kept += logits.numel()
        if self._kept >= AT_ONCE:
            self._count()

    def _count(self) -> None:
        """Counts what was taken, C x N: along many samples the device works faster than along few classes."""
        if not self._logits:
            return
        logits, target = torch.cat(self._logits).float().t().contiguous(), torch.cat(self._targets)
        self._logits, self._targets, self._kept = [], [], 0
        cells = target * self.num_classes + highest(logits)
        self._confusion.view(-1).index_add_(0, cells, torch.ones_like(cells))
        if self.num_classes > 5:
            self._in_top5 += (behind(logits, target) > self.num_classes - 5).sum()

    def confusion(self) -> Tensor:
        """C x C counts over all ranks, on the CPU: row = true class, column = predicted class."""
        self._count()
        return distributed.all_reduce_sum(self._confusion.clone()).cpu()

    def _by_class(self) -> Tensor:
        """3 x C counts over all ranks, on the CPU, as float64: hits, predictions and samples of each class. The C x C
        ones are neither copied nor sent for it."""
        self._count()
        matrix = self._confusion
        counts = torch.stack([matrix.diagonal(), matrix.sum(dim=0), matrix.sum(dim=1)])
        return distributed.all_reduce_sum(counts).cpu().double()

    def compute(self) -> dict[str, float]:
        """Scores as fractions. Classes that have neither targets nor predictions do not enter the macro F1."""
        hits, predicted, true = self._by_class()
        samples = max(true.sum().item(), 1.0)
        scores = {"top1": hits.sum().item() / samples}
        if self.num_classes > 5:
            scores["top5"] = distributed.all_reduce_sum(self._in_top5.clone()).item() / samples
        support = predicted + true
        f1 = 2 * hits / support.clamp(min=1)
        scores["f1_macro"] = f1[support > 0].mean().item() if bool((support > 0).any()) else 0.0
        return scores

    def per_class(self) -> dict[str, list[float]]:
        """precision, recall, f1 (fractions) and support (samples) of each class, 0 where undefined."""
        hits, predicted, true = self._by_class()
        return {
            "precision": (hits / predicted.clamp(min=1)).tolist(),
            "recall": (hits / true.clamp(min=1)).tolist(),
            "f1": (2 * hits / (predicted + true).clamp(min=1)).tolist(),
            "support": true.tolist(),
        }
