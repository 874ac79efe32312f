"""Scores of a ranking: each query among the gallery images, by the distance of their features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine import distributed
from engine.evaluators import EVALUATORS
from engine.task import Batch, Outputs

COLUMNS = ("index", "target", "camera", "source", "query", "gallery")


@EVALUATORS.register("retrieval")
class RetrievalEvaluator:
    """rank1, rank5, rank10, mAP and mINP over the queries that have a match."""

    lower_is_better: frozenset[str] = frozenset({"loss"})
    target_kinds = ("identity",)

    def __init__(self, *, device: torch.device, **_: Any) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Forgets all samples."""
        self._features: list[Tensor] = []
        self._facts: list[Tensor] = []

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Keeps the features (B x D, the entry "feature" or the tensor itself) and who they are of."""
        features = outputs["feature"] if isinstance(outputs, dict) else outputs
        self._features.append(features.float().cpu())
        self._facts.append(torch.stack([batch[name].cpu() for name in COLUMNS], dim=1))

    def compute(self) -> dict[str, float]:
        """Scores as fractions; 0 where there is no query with a match."""
        zero = dict.fromkeys(("rank1", "rank5", "rank10", "mAP", "mINP"), 0.0)
        parts = distributed.gather((self._features, self._facts))
        features = [feature for part in parts for feature in part[0]]
        if not features:
            return zero
        vectors, facts = torch.cat(features), torch.cat([fact for part in parts for fact in part[1]])
        order = facts[:, 0].argsort()
        return {**zero, **ranking_scores(vectors[order], facts[order])}


def ranking_scores(features: Tensor, facts: Tensor) -> dict[str, float]:
    """By the Market-1501 rule: gallery images of the query's identity and camera, junk, and the query itself do not count."""
    index, target, camera, source, query, gallery = facts.unbind(dim=1)
    rows, columns = query.nonzero()[:, 0], ((gallery == 1) & (target >= 0)).nonzero()[:, 0]
    unit = torch.nn.functional.normalize(features, dim=1)
    precisions, ranks, penalties = [], [], []
    for row in rows.tolist():
        same = target[columns] == target[row]
        left = (source[columns] == source[row]) & ~(same & (camera[columns] == camera[row])) & (columns != row)
        similar = unit[columns[left]] @ unit[row]
        match = same[left][similar.argsort(descending=True, stable=True)]
        hits = match.nonzero()[:, 0].double() + 1
        if len(hits):
            counts = torch.arange(1, len(hits) + 1, dtype=torch.float64)
            precisions.append((counts / hits).mean())
            ranks.append(hits[0])
            penalties.append(len(hits) / hits[-1])
    if not ranks:
        return {}
    first = torch.stack(ranks)
    scores = {f"rank{k}": (first <= k).double().mean().item() for k in (1, 5, 10)}
    return {**scores, "mAP": torch.stack(precisions).mean().item(), "mINP": torch.stack(penalties).mean().item()}
