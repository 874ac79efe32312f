"""Batches by identity, camera and source: equal shares, whole groups, the same on any number of ranks and after a resume."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from conftest import TINY
from PIL import Image
from test_resume_equals_uninterrupted import assert_a_resumed_run_is_equal

from config import load_file
from data import build_splits, make_data_loader
from data.loaders.plan import TrainingPlan
from data.samplers import cameras, identities, sources
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
RNG = numpy.random.default_rng(0)
UNEVEN = numpy.repeat(numpy.arange(60), RNG.integers(1, 30, size=60))
UNEVEN = RNG.permutation(numpy.concatenate([UNEVEN, numpy.full(25, -1)]))  # with junk, which no batch may hold
FACTS = {
    "camera": RNG.choice(6, p=[0.5, 0.2, 0.1, 0.1, 0.06, 0.04], size=len(UNEVEN)),
    "source": (numpy.arange(len(UNEVEN)) > 200).astype(int),
}


def order(sampler: Any, epoch: int = 0, *, targets: Any = UNEVEN, batch: int = 32, instances: int = 4) -> numpy.ndarray:
    """An epoch's order of the uneven set."""
    found: numpy.ndarray = sampler(targets, 3, epoch, facts=FACTS, batch=batch, instances=instances)
    return found


@pytest.mark.parametrize("targets", [UNEVEN, numpy.repeat([0, 1, 2, 3, 4, 5, 6, 7], [90, 2, 5, 1, 4, 4, 9, 3])])
def test_a_batch_has_so_many_identities_with_so_many_images(targets: numpy.ndarray) -> None:
    sizes = numpy.bincount(targets[targets >= 0])
    for epoch in range(3):
        found = order(identities, epoch, targets=targets)
        groups = found.reshape(-1, 8, 4)
        assert len(found) == (targets >= 0).sum() // 32 * 32
        of_groups = targets[groups]
        assert (of_groups == of_groups[:, :, :1]).all() and of_groups.min() >= 0
        assert all(len(set(row)) == 8 for row in of_groups[:, :, 0].tolist())
        for group in groups.reshape(-1, 4):
            most = min(sizes[targets[group[0]]], 4)
            assert len(set(group.tolist())) == most and (most == 1 or (numpy.diff(group) != 0).all())


def test_every_image_is_seen_equally_often() -> None:
    images, epochs = UNEVEN >= 0, 400
    seen = numpy.bincount(numpy.concatenate([order(identities, epoch) for epoch in range(epochs)]), minlength=len(UNEVEN))
    share = len(order(identities)) / images.sum()
    assert (seen[~images] == 0).all() and numpy.abs(seen[images] / epochs / share - 1).max() < 0.35
    for low, high in ((1, 3), (4, 8), (9, 16), (17, 30)):  # and no less so where an identity has few
        sizes = numpy.bincount(UNEVEN[images])[UNEVEN[images]]
        assert seen[images][(sizes >= low) & (sizes <= high)].mean() / epochs / share == pytest.approx(1, abs=0.06)
    even = numpy.repeat(numpy.arange(64), 20)
    assert numpy.bincount(order(identities, targets=even), minlength=len(even)).tolist() == [1] * len(even)


@pytest.mark.parametrize(
    ("sampler", "fact", "batch"), [(cameras, "camera", 24), (cameras, "camera", 16), (sources, "source", 32)]
)
def test_cameras_and_sources_come_equally_often(sampler: Any, fact: str, batch: int) -> None:
    values = numpy.asarray(FACTS[fact])
    found = order(sampler, batch=batch)
    groups = values[found].reshape(-1, batch // 4, 4)
    assert (groups == groups[:, :, :1]).all()
    for row in groups[:, :, 0]:
        counts = numpy.bincount(row, minlength=values.max() + 1)
        assert counts.max() - counts.min() <= (batch % (4 * len(counts)) > 0)
    counts = numpy.bincount(values[found])
    assert counts.max() - counts.min() <= 4
    for value in range(values.max() + 1):  # each image of a camera as often as the others of it
        seen = numpy.bincount(found, minlength=len(values))[values == value]
        assert seen.max() - seen.min() <= 1


@pytest.mark.parametrize("sampler", [identities, cameras, sources])
def test_orders_are_functions_of_seed_and_epoch(sampler: Any) -> None:
    first = order(sampler, 1)
    order(sampler, 2)
    assert (order(sampler, 1) == first).all() and len(order(sampler, 2)) == len(first)
    assert not (order(sampler, 2) == first).all()


@pytest.mark.parametrize("sampler", [identities, cameras, sources])
@pytest.mark.parametrize(("ranks", "parts"), [(1, 1), (2, 1), (4, 1), (1, 4), (2, 2)])
def test_windows_are_the_same_on_any_ranks_and_no_group_is_split(sampler: Any, ranks: int, parts: int) -> None:
    of_epoch = partial(sampler, UNEVEN, 3, facts=FACTS, batch=32, instances=4)
    whole = TrainingPlan(of_epoch, len(of_epoch(0)), 32)
    labels = {identities: UNEVEN, cameras: FACTS["camera"], sources: FACTS["source"]}[sampler]
    plans = [TrainingPlan(of_epoch, whole.length, 32, parts, rank, ranks) for rank in range(ranks)]
    pieces = [plan.batches(5, 0) for plan in plans]
    for window, (indices, _) in enumerate(whole.batches(5, 0)):
        mine = [piece[window * parts + part][0] for piece in pieces for part in range(parts)]
        assert (numpy.concatenate(mine) == indices).all()
        for part in mine:
            groups = numpy.asarray(labels)[part].reshape(-1, 4)
            assert (groups == groups[:, :1]).all() and len(groups) >= 2
    assert all((a[0] == b[0]).all() for a, b in zip(plans[0].batches(5, 3), pieces[0][3:], strict=True))


def folder(base: Path, people: int = 8, images: int = 4) -> Path:
    """People with a colour each, seen by two cameras."""
    for person in range(people):
        for number in range(images):
            file = base / f"{person:02}" / f"{number}_{number % 2 + 1}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (30 * person, 255 - 30 * person, 20 * number)).save(file)
    return base


def words(base: Path, *more: str) -> list[str]:
    """A tiny run on such a folder."""
    return [
        *TINY, "DATASETS.TRAIN", f"identity_folder:{base}", "MODEL.NAME", "embedding", "LOSS.TERMS",
        "[[cross_entropy, 1], [triplet, 1]]",
        "TEST.EVALUATOR", "retrieval", "DATALOADER.SAMPLER", "identities", "DATALOADER.INSTANCES", "2",
        "SOLVER.IMS_PER_BATCH", "8", "DATASETS.VAL_FRACTION", "0.25", *more,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ["SOLVER.IMS_PER_BATCH", "9"],
            "SOLVER.IMS_PER_BATCH 9 has to be a whole multiple, at least twice, of DATALOADER.INSTANCES 2; "
            "SOLVER.IMS_PER_BATCH 8 or 10 would do",
        ),
        (["SOLVER.IMS_PER_BATCH", "2"], "SOLVER.IMS_PER_BATCH 4 would do"),
        (["SOLVER.IMS_PER_BATCH", "10", "SOLVER.ACCUMULATE", "2"], "each of the 2 parts"),
        (
            ["SOLVER.IMS_PER_BATCH", "12", "SOLVER.ACCUMULATE", "2", "DATALOADER.REPEATS", "2"],
            "of DATALOADER.INSTANCES 2 x DATALOADER.REPEATS 2; SOLVER.IMS_PER_BATCH 16 would do",
        ),
        (["SOLVER.IMS_PER_BATCH", "16"], "a batch of 16 takes 8 identities with 2 images each, and there are 4 for training"),
        (["DATALOADER.SAMPLER", "sources"], "sources: there is 1 of them, and it takes two to mix"),
    ],
)
def test_batches_that_cannot_be_made_are_said(more: list[str], said: str, train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*words(folder(tmp_path / "people"), *more))
    assert code == 2 and said in error and "Traceback" not in error and not (tmp_path / "exp").exists(), error


def test_no_pairs_and_unknown_cameras_are_said() -> None:
    with pytest.raises(UserError, match="no identity has two images"):
        order(identities, targets=numpy.arange(40))
    with pytest.raises(UserError, match="the camera of 3 of 4 images is not known"):
        cameras([0, 0, 1, 1], 0, 0, facts={"camera": [-1, -1, 2, -1]}, batch=4, instances=2)


@pytest.mark.parametrize("sampler", ["identities", "cameras"])
def test_loaders_give_the_same_batches(sampler: str, tmp_path: Path) -> None:
    pairs = words(folder(tmp_path / "people"), "DATALOADER.SAMPLER", sampler)
    seen = []
    for loader in ("threads", "processes"):
        cfg = load_file(None, [*zip(pairs[::2], pairs[1::2], strict=True), ("DATALOADER.LOADER", loader)])
        batches = list(make_data_loader(cfg, "train", build_splits(cfg)))
        seen.append([batch["index"].tolist() for batch in batches])
        labels = [batch["target" if sampler == "identities" else "camera"].reshape(-1, 2) for batch in batches]
        assert all((rows == rows[:, :1]).all() for rows in labels)
    assert seen[0] == seen[1] and seen[0]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["identities", "cameras"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    sampler: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = words(folder(tmp_path / "people"), "DATALOADER.SAMPLER", sampler)
    assert_a_resumed_run_is_equal(train, call, 4, tmp_path / "exp", monkeypatch)
