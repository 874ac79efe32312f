"""Scores of a ranking: each query among the gallery images of its own source, by the distance of their features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from engine import distributed
from engine.evaluators import EVALUATORS
from engine.retrieval.cuhk03 import single_shot
from engine.retrieval.distances import Distances, blocks, distances, make_unit
from engine.retrieval.images import Images
from engine.retrieval.ranking import Ranking, joined, rank, summary
from engine.retrieval.reranking import reranked
from engine.task import Batch, Outputs
from modeling.losses.outputs import entry

# what is known of an image, and what holds where a data set does not say: any image is searched with and among
FACTS = {"index": 0, "target": 0, "camera": -1, "source": 0, "query": 1, "gallery": 1}
NAMES = list(FACTS)


class Search(NamedTuple):
    """The queries and the gallery of one source.

    Attributes:
        source: its number.
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
    """rank1, rank5, rank10, rank20, mAP and mINP over the queries that have a match; with several sources also
    rank1_<source> and mAP_<source> for each.

    The features of all ranks are brought together on each of them, once N x D float32, and every rank scores some blocks of
    queries: none waits long for another, and the scores are the same for any number of ranks.

    Args:
        distance: euclidean or cosine.
        rerank: k-reciprocal re-ranking.
        protocol: market1501, or cuhk03, where the ranks (not mAP and mINP) are those of a gallery with one drawn image of
            each identity.
        seed: of what is drawn.

    Attributes:
        sources: names of the sources, by their numbers.
        rankings: after `compute`, how the queries of each search came out.
    """

    lower_is_better: frozenset[str] = frozenset({"loss"})
    averages = "feature"
    target_kinds = ("identity",)

    def __init__(
        self, *, distance: str = "cosine", rerank: bool = False, protocol: str = "market1501", seed: int = 0, **_: Any
    ) -> None:
        self.distance, self.rerank, self.protocol, self.seed = distance, rerank, protocol, seed
        self.sources: Sequence[str] = ()
        self.reset()

    @property
    def manner(self) -> str:
        """What is not as by default, for titles: ` (euclidean, re-ranked)`; "" where nothing is."""
        of = (self.distance, "cosine"), ("re-ranked" if self.rerank else "", ""), (self.protocol, "market1501")
        other = [word for word, usual in of if word != usual]
        return f" ({', '.join(other)})" if other else ""

    def reset(self) -> None:
        """Forgets all samples."""
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._whole: tuple[Tensor, dict[str, Tensor]] | None = None
        self._searches: list[Search] | None = None
        self.rankings: list[Ranking] = []

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Keeps the features (B x D, the entry "feature" or the tensor itself) and who they are of."""
        features = entry(outputs, "feature")
        blank = torch.zeros_like(batch["index"])
        facts = torch.stack([batch.get(name, blank + usual) for name, usual in FACTS.items()], dim=1)
        # copied: a batch's memory is used again, and a part of a larger tensor would keep the whole
        self._parts.append((features.detach().to("cpu", torch.float32, copy=True), facts.cpu()))

    def compute(self) -> dict[str, float]:
        """Scores as fractions; 0 where there is no query with a match. After it only `reset` may follow an update."""
        self._gather()
        self.rankings = [self._ranked(search) for search in self.searches()]
        scores = summary(joined(self.rankings))
        for number, name in enumerate(self.sources) if len(self.sources) > 1 else ():
            pairs = zip(self.searches(), self.rankings, strict=True)
            own = summary(joined(ranking for search, ranking in pairs if search.source == number))
            scores |= {f"{score}_{name}": own[score] for score in ("rank1", "mAP")}
        return distributed.broadcast(scores)

    def searches(self) -> list[Search]:
        """After `compute`: one for each source that has queries and a gallery."""
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

    def nearest(self) -> list[tuple[int, int, float]]:
        """After `compute`, in the order of the data set: the number of each query, that of the nearest gallery image that
        counts (-1: none), and the cosine similarity of the two features."""
        found: list[tuple[int, int, float]] = []
        for search, ranking in zip(self.searches(), self.rankings, strict=True):
            assert self._whole is not None
            features, best = self._whole[0], ranking.nearest
            place = search.gallery.place[best].where(best >= 0, -1)
            for part in blocks(len(best), features.shape[1]):
                similar = functional.cosine_similarity(features[search.rows[part]], features[search.columns[best[part]]])
                found += zip(search.query.place[part].tolist(), place[part].tolist(), similar.tolist(), strict=True)
        return sorted(found)

    def _ranked(self, search: Search) -> Ranking:
        parts = search.distances, search.query, search.gallery
        ranking = rank(*parts, each=distributed.share_out)
        if self.protocol == "cuhk03":
            ranking = ranking._replace(found=single_shot(*parts, self.seed, each=distributed.share_out))
        return ranking

    def _between(self, features: Tensor, rows: Tensor, columns: Tensor) -> Distances:
        if self.rerank:
            return reranked(features, rows, columns, self.distance, each=distributed.share_out)
        return distances(features, rows, columns, self.distance)

    def _gather(self) -> None:
        """The samples of all ranks on each of them, batch by batch, so that no more than a batch a rank is in flight.

        They lie by source, in each the gallery first, so that it is in one piece and need not be copied; in its parts in
        the order of the data set.
        """
        if self._whole is not None:
            return
        own = torch.cat([torch.empty(0, len(FACTS), dtype=torch.int64), *(facts for _, facts in self._parts)])
        everyone = distributed.gather(own)
        facts = torch.cat(everyone)
        order = facts[:, NAMES.index("index")].argsort(stable=True)
        for key in (_section(facts), facts[:, NAMES.index("source")]):
            order = order[key[order].argsort(stable=True)]
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order))
        waiting = list(places.split([len(theirs) for theirs in everyone]))  # of each rank, where its next samples belong
        features = torch.empty(0, 0)
        self._parts.reverse()
        for _ in range(max(distributed.gather(len(self._parts)))):
            mine = self._parts.pop()[0] if self._parts else torch.empty(0, 0)  # freed as it has been copied
            for number, part in enumerate(distributed.gather(mine)):
                if len(part):
                    features = features if len(features) else torch.empty(len(order), part.shape[1])
                    features[waiting[number][: len(part)]] = part
                    waiting[number] = waiting[number][len(part) :]
        if self.distance == "cosine":
            make_unit(features)
        self._whole = features, dict(zip(FACTS, facts[order].unbind(dim=1), strict=True))


def _section(facts: Tensor) -> Tensor:
    """Of N x facts, where an image lies within its source: 0 in the gallery, 1 with what is searched with only, 2 with junk."""
    section = (facts[:, NAMES.index("gallery")] != 1).long()
    return section.masked_fill(facts[:, NAMES.index("target")] < 0, 2)
