"""Scores of a ranking: each query among the gallery images of its own source, by the distance of their features."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from engine import distributed
from engine.evaluators import EVALUATORS
from engine.retrieval.cuhk03 import single_shot
from engine.retrieval.distances import Distances, distances
from engine.retrieval.images import Images
from engine.retrieval.nearest import nearest
from engine.retrieval.ranking import Ranking, joined, rank, summary
from engine.retrieval.reranking import reranked
from engine.task import Batch, Outputs

# what is known of an image, and what holds where a data set does not say: any image is searched with and among
FACTS = {"index": 0, "target": 0, "camera": -1, "source": 0, "query": 1, "gallery": 1}


class Search(NamedTuple):
    """The queries and the gallery of one source.

    Attributes:
        query, gallery: their places are numbers of samples.
        rows, columns: where their features are.
    """

    source: int
    distances: Distances
    query: Images
    gallery: Images
    rows: Tensor
    columns: Tensor


@EVALUATORS.register("retrieval")
class RetrievalEvaluator:
    """rank1, rank5, rank10, rank20, mAP and mINP over the queries that have a match; with several sources also rank1_<n>
    and mAP_<n> for source n.

    The features of all ranks are brought together and scored on rank 0 alone, which tells the others. So they are the
    same for any number of ranks.

    Args:
        distance: euclidean or cosine.
        rerank: k-reciprocal re-ranking.
        protocol: market1501, or cuhk03, where the ranks (not mAP and mINP) are those of a gallery with one drawn image of
            each identity.
        seed: of what is drawn.
    """

    lower_is_better: frozenset[str] = frozenset({"loss"})
    averages = "feature"
    target_kinds = ("identity",)

    def __init__(
        self, *, distance: str = "cosine", rerank: bool = False, protocol: str = "market1501", seed: int = 0, **_: Any
    ) -> None:
        self.distance, self.rerank, self.protocol, self.seed = distance, rerank, protocol, seed
        self.reset()

    def reset(self) -> None:
        """Forgets all samples."""
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._whole: tuple[Tensor, dict[str, Tensor]] | None = None
        self._searches: list[Search] | None = None
        self.rankings: list[Ranking] = []

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Keeps the features (B x D, the entry "feature" or the tensor itself) and who they are of."""
        features = outputs["feature"] if isinstance(outputs, dict) else outputs
        blank = torch.zeros_like(batch["index"])
        facts = torch.stack([batch.get(name, blank + usual) for name, usual in FACTS.items()], dim=1)
        # copied: a batch's memory is used again, and a part of a larger tensor would keep the whole
        self._parts.append((features.detach().to("cpu", torch.float32, copy=True), facts.cpu()))

    def compute(self) -> dict[str, float]:
        """Scores as fractions; 0 where there is no query with a match. After it only `reset` may follow an update."""
        self._gather()
        return distributed.on_main(self._scores)

    def searches(self) -> list[Search]:
        """On rank 0, after `compute`: one for each source that has queries and a gallery."""
        if self._searches is None:
            assert self._whole is not None, "compute() comes first"
            features, facts = self._whole
            images, known = Images(facts["index"], facts["target"], facts["camera"]), facts["target"] >= 0
            self._searches = []
            for source in facts["source"].unique().tolist():
                here = known & (facts["source"] == source)
                rows, columns = ((here & (facts[role] == 1)).nonzero()[:, 0] for role in ("query", "gallery"))
                if len(rows) and len(columns):
                    between = self._between(features, rows, columns)
                    search = Search(source, between, images.take(rows), images.take(columns), rows, columns)
                    self._searches.append(search)
        return self._searches

    def rank(self, search: Search) -> Ranking:
        """How its queries came out."""
        parts = search.distances, search.query, search.gallery
        ranking = rank(*parts)
        return ranking._replace(found=single_shot(*parts, self.seed)) if self.protocol == "cuhk03" else ranking

    def nearest(self) -> list[tuple[int, int, float]]:
        """On rank 0, after `compute`, in the order of the data set: the number of each query, that of the nearest gallery
        image that counts (-1: none), and the cosine similarity of the two features."""
        found: list[tuple[int, int, float]] = []
        for search in self.searches():
            assert self._whole is not None
            best = nearest(search.distances, search.query, search.gallery)
            query, image = (self._whole[0][numbers] for numbers in (search.rows, search.columns[best]))
            place = search.gallery.place[best].where(best >= 0, -1)
            similar = functional.cosine_similarity(query, image)
            found += zip(search.query.place.tolist(), place.tolist(), similar.tolist(), strict=True)
        return sorted(found)

    def _between(self, features: Tensor, rows: Tensor, columns: Tensor) -> Distances:
        if self.rerank:
            return reranked(features, rows, columns, self.distance)
        return distances(features[rows], features[columns], self.distance)

    def _scores(self) -> dict[str, float]:
        """Of all queries together, then of each source, where there are several."""
        self.rankings = [self.rank(search) for search in self.searches()]
        scores = summary(joined(self.rankings))
        for search, own in zip(self.searches(), self.rankings, strict=True) if len(self.rankings) > 1 else ():
            scores |= {f"{name}_{search.source}": summary(own)[name] for name in ("rank1", "mAP")}
        return scores

    def _gather(self) -> None:
        """The samples of all ranks on rank 0, batch by batch, so that no more than a batch a rank is in flight."""
        if self._whole is not None:
            return
        own = torch.cat([torch.empty(0, len(FACTS), dtype=torch.int64), *(facts for _, facts in self._parts)])
        everyone = distributed.gather(own)
        facts = torch.cat(everyone)
        order = facts[:, 0].argsort(stable=True)
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order))
        waiting = list(places.split([len(theirs) for theirs in everyone]))  # of each rank, where its next samples belong
        features = torch.empty(0, 0)
        for turn in range(max(distributed.gather(len(self._parts)))):
            mine = self._parts[turn][0] if turn < len(self._parts) else torch.empty(0, 0)
            for number, part in enumerate(distributed.gather(mine)):
                if len(part) and distributed.is_main():
                    features = features if len(features) else torch.empty(len(order), part.shape[1])
                    features[waiting[number][: len(part)]] = part
                    waiting[number] = waiting[number][len(part) :]
        self._parts.clear()
        self._whole = features, dict(zip(FACTS, facts[order].unbind(dim=1), strict=True))
