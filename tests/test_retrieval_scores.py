"""Retrieval is scored as the published protocols say, whatever the blocks, ties, junk, cameras and sources."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import retrieval_oracles as oracles
import torch
from torch import Tensor

from engine import distributed
from engine.analysis.ranked import choose_queries
from engine.evaluators.retrieval import RetrievalEvaluator
from engine.retrieval import cuhk03
from engine.retrieval.distances import Distances, Each, alone, blocks, distances, make_unit
from engine.retrieval.images import Images
from engine.retrieval.nearest import ranked
from engine.retrieval.ranking import rank, summary
from engine.retrieval.reranking import reranked


def problem(seed: int, *, tied: bool = False, identities: int = 12, cameras: int = 3) -> tuple[Tensor, dict[str, Tensor]]:
    """Features and facts of 150 images. Tied: whole numbers, so that distances are exact and many are equal."""
    torch.manual_seed(seed)
    count = 150
    target = torch.randint(-1, identities, (count,))
    centres = torch.randn(identities + 1, 8)
    features = centres[target] + torch.randn(count, 8)
    role = torch.randint(0, 3, (count,))
    facts = {
        "index": torch.arange(count),
        "target": target,
        "camera": torch.randint(-1, cameras, (count,)),
        "source": torch.zeros(count, dtype=torch.int64),
        "query": (role != 1).long(),
        "gallery": (role != 0).long(),
    }
    return (torch.randint(0, 2, (count, 8)).float() if tied else features), facts


def halves(facts: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Numbers of the queries and of the gallery images."""
    known = facts["target"] >= 0
    return ((facts["query"] == 1) & known).nonzero()[:, 0], ((facts["gallery"] == 1) & known).nonzero()[:, 0]


def between(features: Tensor, rows: Tensor, columns: Tensor, kind: str) -> Distances:
    """Distances of features of any length."""
    return distances(make_unit(features.clone()) if kind == "cosine" else features, rows, columns, kind)


def told(features: Tensor, facts: dict[str, Tensor], kind: str) -> tuple[Any, ...]:
    """What an oracle takes: the same distances, and facts in numpy."""
    rows, columns = halves(facts)
    whole = between(features, rows, columns, kind)(slice(0, len(rows))).numpy()
    queries = [tuple(int(facts[name][row]) for name in ("index", "target", "camera")) for row in rows]
    gallery = facts["target"][columns].numpy(), facts["camera"][columns].numpy()
    return whole, queries, gallery, columns.numpy()


def parts(features: Tensor, facts: dict[str, Tensor], kind: str) -> tuple[Any, Images, Images]:
    """What `rank` takes."""
    images = Images(facts["index"], facts["target"], facts["camera"])
    rows, columns = halves(facts)
    return between(features, rows, columns, kind), images.take(rows), images.take(columns)


def told_to(evaluator: RetrievalEvaluator, features: Tensor, facts: dict[str, Tensor]) -> dict[str, float]:
    """An evaluator's scores, from batches in any order."""
    for rows in torch.randperm(len(features)).split(17):
        evaluator.update({"feature": features[rows]}, {name: values[rows] for name, values in facts.items()})
    return evaluator.compute()


def evaluated(features: Tensor, facts: dict[str, Tensor], **keys: Any) -> dict[str, float]:
    """The scores of a new evaluator."""
    return told_to(RetrievalEvaluator(**keys), features, facts)


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
@pytest.mark.parametrize("tied", [False, True])
def test_scores_are_those_of_the_published_protocol(kind: str, tied: bool) -> None:
    for seed in range(5):
        features, facts = problem(seed, tied=tied)
        wanted = oracles.market1501(*told(features, facts, kind))
        assert evaluated(features, facts, distance=kind) == pytest.approx(wanted, abs=1e-12)
        assert 0 < wanted["mINP"] < wanted["mAP"] < 1


@pytest.mark.parametrize("tied", [False, True])
def test_blocks_of_any_size_give_the_same_scores(tied: bool) -> None:
    features, facts = problem(7, tied=tied)
    search = parts(features, facts, "euclidean")
    wanted = summary(rank(*search))
    for limit in (1, 1000, 5000):
        assert summary(rank(*search, limit=limit)) == wanted
        assert torch.equal(rank(*search, limit=limit).nearest, rank(*search).nearest)
    assert list(blocks(5, 10, 80)) == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert all(4 * 15_913 * (part.stop - part.start) <= 32 * 2**20 for part in blocks(3_368, 15_913))


def test_ranks_that_share_the_blocks_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    features, facts = problem(8)
    search, rows = parts(features, facts, "euclidean"), halves(facts)

    def all_of(each: Each) -> list[Tensor]:
        block = reranked(features, *rows, "euclidean", limit=5000, each=each)
        return [*rank(*search, limit=5000, each=each), cuhk03.single_shot(*search, 0, 3, 5000, each), block(slice(0, 9))]

    wanted = all_of(alone)
    sent: list[list[Any]] = [[], []]
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    for number in (0, 1):  # what each of two ranks would send, without the other
        monkeypatch.setattr(distributed, "rank", lambda number=number: number)

        def kept(blocks: Any, act: Any, number: int = number) -> Any:
            blocks = list(blocks)
            sent[number].append([act(part) for part in blocks[number::2]])
            return [act(part) for part in blocks]

        all_of(kept)
        assert all(sent[number])
    for number in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda number=number: number)
        turn = iter(zip(*sent, strict=True))

        def gathered(mine: Any, turn: Any = turn, number: int = number) -> Any:
            everyone = next(turn)
            assert repr(mine) == repr(everyone[number])
            return everyone

        monkeypatch.setattr(distributed, "gather", gathered)
        assert all(torch.equal(one, other) for one, other in zip(all_of(distributed.share_out), wanted, strict=True))


def test_features_that_are_all_equal_or_no_numbers_are_ties() -> None:
    _, facts = problem(3)
    for value in (1.0, float("nan")):
        features = torch.full((150, 4), value)
        wanted = oracles.market1501(*told(torch.ones(150, 4), facts, "cosine"))
        assert evaluated(features, facts) == pytest.approx(wanted, abs=1e-12)


def test_each_source_is_a_ranking_of_its_own() -> None:
    (first, facts), (second, others) = problem(1), problem(2)
    both = {name: torch.cat([facts[name], others[name]]) for name in facts}
    both["index"], both["source"] = torch.arange(300), torch.arange(2).repeat_interleave(150)
    evaluator = RetrievalEvaluator()
    evaluator.sources = ["a", "b"]
    assert evaluator.compute().keys() >= {"rank1_a", "mAP_b"}  # so that TEST.PRIMARY_METRIC can be checked
    evaluator.reset()
    scores = told_to(evaluator, torch.cat([first, second]), both)
    alone = [oracles.market1501(*told(*one, "cosine")) for one in ((first, facts), (second, others))]
    assert [scores["mAP_a"], scores["mAP_b"]] == pytest.approx([one["mAP"] for one in alone])
    assert [scores["rank1_a"], scores["rank1_b"]] == pytest.approx([one["rank1"] for one in alone])
    assert min(scores["mAP_a"], scores["mAP_b"]) < scores["mAP"] < max(scores["mAP_a"], scores["mAP_b"])
    assert next(iter(scores)) == "rank1"


def test_ranks_beyond_the_gallery_and_queries_without_a_match() -> None:
    features = torch.eye(4)
    facts = {"index": torch.arange(4), "target": torch.tensor([0, 1, 2, 0])}  # leave-one-out, no cameras
    scores = evaluated(features, facts)
    assert scores["rank5"] == scores["rank20"] == 1.0 and scores["rank1"] < 1
    assert set(evaluated(features, {**facts, "target": torch.arange(4)}).values()) == {0.0}
    assert set(RetrievalEvaluator().compute().values()) == {0.0}


@pytest.mark.parametrize("tied", [False, True])
def test_cuhk03_draws_one_image_of_each_identity(tied: bool) -> None:
    features, facts = problem(5, tied=tied)
    search = parts(features, facts, "cosine")
    found = cuhk03.single_shot(*search, seed=3, repeats=6)

    def draw(sizes: list[int], place: int) -> numpy.ndarray:
        return cuhk03.draw(torch.tensor(sizes), 3, place, 6).numpy()

    whole, queries, gallery, places = told(features, facts, "cosine")
    wanted = oracles.cuhk03(whole, queries, gallery, places, draw, 6)
    has = rank(*search).first > 0
    assert found[has].mean(dim=0).tolist() == pytest.approx(wanted) and not found[~has].any()
    assert torch.equal(cuhk03.single_shot(*search, seed=3, repeats=6, limit=1), found)
    assert not torch.equal(cuhk03.single_shot(*search, seed=4, repeats=6), found)
    scores = evaluated(features, facts, protocol="cuhk03")
    assert scores["mAP"] == evaluated(features, facts)["mAP"]
    chances = [oracles.chance_of_rank1(*one, gallery, places) for one in zip(whole, queries, strict=True)]
    exact = [chance for chance, is_valid in zip(chances, has.tolist(), strict=True) if is_valid]
    assert scores["rank1"] == pytest.approx(sum(exact) / len(exact), abs=0.01)  # 100 draws of each of some 90 queries


def test_draws_take_every_image_of_an_identity() -> None:
    drawn = cuhk03.draw(torch.tensor([1, 3, 0]), 0, 9, 300)
    assert drawn[:, 0].unique().tolist() == [0] and torch.bincount(drawn[:, 1]).min() > 70


@pytest.mark.parametrize(("kind", "k1", "k2"), [("euclidean", 20, 6), ("cosine", 7, 3), ("cosine", 20, 1)])
def test_reranking_is_that_of_the_paper(kind: str, k1: int, k2: int) -> None:
    torch.manual_seed(k1)
    features = torch.randn(10, 8).repeat_interleave(9, dim=0) + 0.7 * torch.randn(90, 8)
    rows, columns = torch.arange(0, 90, 3), torch.tensor([n for n in range(90) if n % 3])
    everyone = torch.cat([features[rows], features[columns]]).double()
    unit = everyone / everyone.norm(dim=1, keepdim=True)
    whole = 1 - unit @ unit.T if kind == "cosine" else (everyone[:, None] - everyone).norm(dim=2)
    wanted = torch.from_numpy(oracles.k_reciprocal(whole.clamp(min=0).numpy(), 30, k1, k2, 0.3)).float()
    for limit in (10**7, 3000):
        given = make_unit(features.clone()) if kind == "cosine" else features
        block = reranked(given, rows, columns, kind, k1, k2, limit=limit)
        found = torch.cat([block(slice(0, 11)), block(slice(11, 30))])
        assert torch.allclose(found, wanted, atol=1e-5), (found - wanted).abs().max()


def test_reranking_changes_scores_and_takes_a_small_gallery() -> None:
    features, facts = problem(2)
    assert evaluated(features, facts, rerank=True)["mAP"] > evaluated(features, facts)["mAP"]
    few = {name: values[:6] for name, values in {**facts, "target": torch.tensor([0, 0, 1, 1, 2, 2])}.items()}
    scores = evaluated(features[:6], {**few, "camera": few["camera"] * 0 - 1}, rerank=True)
    assert scores["rank20"] == 1.0  # of five images that count all are among the first twenty


def test_the_nearest_image_is_one_that_counts() -> None:
    features, facts = problem(4, tied=True)
    whole, queries, gallery, places = told(features, facts, "cosine")
    search = parts(features, facts, "cosine")
    lists = ranked(*search, range(1, len(queries)), 5)
    for row, found in enumerate(rank(*search).nearest.tolist()):
        order = oracles.kept(whole[row], queries[row], gallery, places)
        assert found == order[0] and (not row or lists[row - 1] == order[:5].tolist())
    alone = Images(*(torch.zeros(1, dtype=torch.int64) for _ in range(3)))
    one = torch.zeros(1, dtype=torch.int64)
    assert rank(between(features[:1], one, one, "cosine"), alone, alone).nearest.tolist() == [-1]


def test_the_picture_shows_the_worst_queries_and_some_drawn() -> None:
    features, facts = problem(6)
    evaluator = RetrievalEvaluator()
    told_to(evaluator, features, facts)
    whole, queries, gallery, places = told(features, facts, "cosine")
    rows = {query[0]: row for row, query in enumerate(queries)}
    precision = {place: oracles.market1501(whole[[row]], [queries[row]], gallery, places)["mAP"] for place, row in rows.items()}
    chosen = choose_queries(evaluator)
    assert [query.kind for query in chosen] == ["worst"] * 4 + ["drawn"] * 4
    assert [query.precision for query in chosen[:4]] == pytest.approx(sorted(p for p in precision.values() if p)[:4])
    for query in chosen:
        row = rows[query.sample]
        order = oracles.kept(whole[row], queries[row], gallery, places)
        assert query.precision == pytest.approx(precision[query.sample]) and query.found == places[order[:8]].tolist()
