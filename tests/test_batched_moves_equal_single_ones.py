"""The memory loader's crops and flips are, bit for bit, the transforms applied to one sample after another."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch

from data.dataset import ArrayDataset
from data.loaders import memory
from data.loaders.loader import Fetcher, Loader
from data.loaders.memory import MemoryLoader
from data.loaders.plan import EvaluationPlan, TrainingPlan
from data.prepare import Prepare
from data.randomness import SAMPLE, first_draws, generator
from data.transforms.crops_and_flips import CropsAndFlips
from data.transforms.geometry import PadCrop, RandomHorizontalFlip
from data.transforms.windows import Windows

LISTS: list[list[Any]] = [
    [PadCrop(4), RandomHorizontalFlip()],
    [RandomHorizontalFlip(0.3), PadCrop(2)],
    [PadCrop(3)],
    [PadCrop(14)],
    [RandomHorizontalFlip(0.7)],
    [PadCrop(0), RandomHorizontalFlip()],
    [RandomHorizontalFlip(), PadCrop(0)],
]


def test_the_first_draws_are_the_generators() -> None:
    positions = numpy.array([0, 1, 7, 2**31, 2**32 - 1])
    for seed, epoch in ((0, 0), (12345, 3), (2**62, 2**20)):
        drawn = first_draws(seed, SAMPLE, epoch, positions)
        for column, position in zip(drawn.T, positions.tolist(), strict=True):
            raw = generator(seed, SAMPLE, epoch, position).bit_generator.random_raw(4)
            assert (column == raw).all()


def made(samples: int) -> ArrayDataset:
    """Images of 3 x 9 x 11."""
    images = torch.randint(0, 256, (samples, 3, 9, 11), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ArrayDataset("made", images, torch.arange(samples) % 5, [str(n) for n in range(5)])


@pytest.mark.parametrize("limit", ["", "KEPT_WINDOWS", "BLOCK"])
@pytest.mark.parametrize("number", range(len(LISTS)))
def test_batches_are_equal_from_any_position(number: int, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of sets that are too large to have their mirror images kept, and in several blocks."""
    if limit:
        monkeypatch.setattr(memory, limit, 16)
    dataset = made(50)
    plan = TrainingPlan(lambda epoch: generator(1, 1, epoch).permutation(50), 50, 8)
    fetcher = Fetcher(dataset, LISTS[number], seed=3, skip_bad=False)
    for epoch, first in ((0, 0), (4, 3)):
        loaders = [MemoryLoader(plan, fetcher), Loader(plan, fetcher)]
        for loader in loaders:
            loader.set_position(epoch, first)
        for ours, single in zip(*loaders, strict=True):
            assert ours.keys() == single.keys()
            assert all(torch.equal(ours[key], single[key]) and ours[key].dtype == single[key].dtype for key in ours)


@pytest.mark.parametrize("limit", ["", "KEPT_WINDOWS"])
def test_a_batch_may_be_empty(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if limit:
        monkeypatch.setattr(memory, limit, 16)
    plan = TrainingPlan(lambda _: numpy.arange(10), 10, 8, parts=4)
    batches = list(MemoryLoader(plan, Fetcher(made(10), LISTS[0], seed=3, skip_bad=False)))
    assert [batch["image"].shape for batch in batches] == [(size, 3, 9, 11) for size in (2, 2, 2, 2, 1, 0, 1, 0)]


@pytest.mark.parametrize("flip_first", [False, True])
def test_draws_that_numpy_repeats_are_equal_too(flip_first: bool) -> None:
    padding = 2**30  # so many choices that nearly every other draw is repeated
    transforms = [RandomHorizontalFlip(), PadCrop(padding)] if flip_first else [PadCrop(padding), RandomHorizontalFlip()]
    moves, positions = CropsAndFlips(transforms), numpy.arange(200)
    for i, (top, left, mirrored) in enumerate(zip(*moves.draw(5, 2, positions), strict=True)):
        expected = list(moves._draw_one(5, 2, i))
        if flip_first and expected[2]:
            expected[1] = 2 * padding - expected[1]
        assert [int(top), int(left), bool(mirrored)] == expected


def test_images_are_laid_out_when_they_are_first_asked_for_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    laid: list[int] = []
    lay = Windows.lay

    def noted_lay(self: Windows, first: int, images: torch.Tensor, **how: Any) -> None:
        laid.append(len(images))
        lay(self, first, images, **how)

    monkeypatch.setattr(Windows, "lay", noted_lay)
    plan = TrainingPlan(lambda _: numpy.arange(50), 50, 8)
    fetcher = Fetcher(made(50), LISTS[0], seed=3, skip_bad=False)
    whole = MemoryLoader(plan, fetcher, "asked for")
    assert not laid and whole.describe() == "memory (asked for; laid out for crops, 58.5 kB)"
    assert len(list(whole)) == len(list(whole)) == 7 and laid == [50, 50]  # as they are, and mirrored
    monkeypatch.setattr(memory, "KEPT_WINDOWS", 16)
    pieces = MemoryLoader(plan, fetcher, "asked for")
    assert len(list(pieces)) == 7 and sum(laid) == 150  # each as it is or mirrored
    assert pieces.describe() == "memory (asked for)"
    monkeypatch.setattr(memory, "SMALL", 3 * 13 * 15 - 1)  # large images of a large set: one by one
    single = MemoryLoader(plan, fetcher, "asked for")
    assert len(list(single)) == 7 and sum(laid) == 150


def test_nothing_done_to_a_batch_reaches_the_data_set() -> None:
    dataset = made(20)
    images, labels = dataset.images.clone(), dataset.labels.clone()
    for transforms in ([], LISTS[0]):
        fetcher = Fetcher(dataset, transforms, seed=3, skip_bad=False)
        for plan in (TrainingPlan(lambda _: numpy.arange(20), 20, 8), EvaluationPlan(20, 8)):
            for batch in MemoryLoader(plan, fetcher):
                batch["target"].fill_(7)
                Prepare([0.5], [0.5], torch.device("cpu"))(batch)["image"].fill_(9)
    assert torch.equal(dataset.images, images) and torch.equal(dataset.labels, labels)


def test_batches_share_memory_only_when_nobody_holds_them() -> None:
    dataset = made(80)
    plan = TrainingPlan(lambda _: numpy.arange(80)[::-1].copy(), 80, 8)
    loader = MemoryLoader(plan, Fetcher(dataset, LISTS[0], seed=3, skip_bad=False))
    seen = [batch["image"].clone() for batch in loader]
    held = list(loader)  # more than are kept for use
    assert len(held) > 8 and all(torch.equal(batch["image"], image) for batch, image in zip(held, seen, strict=True))
    del held
    assert len({batch["image"].data_ptr() for batch in map(dict, loader)}) <= 4
