"""Batches go to the device one ahead of the one in use: nothing is used before it has arrived, nothing overwritten before it
has left. The device here is one that does everything as late as it is allowed to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from config import load_file
from data import build_splits, make_data_loader
from data.to_device import copied_ahead


class LateDevice:
    """Copies what was pinned only when somebody waits for it."""

    def __init__(self) -> None:
        self.asked: list[tuple[Tensor, Tensor]] = []
        self.done, self.log, self.kept = 0, [], []  # type: ignore[var-annotated]

    def copy(self, tensor: Tensor) -> Tensor:
        """Room on the device; what is in it is left over from before."""
        room = torch.full_like(tensor, 77)
        self.asked.append((room, tensor.clone()))  # pinned memory of its own, as `sent` takes
        return room

    def record(self) -> int:
        """How many copies the event stands for."""
        self.log.append(f"record {len(self.asked)}")
        return len(self.asked)

    def wait(self, event: int) -> None:
        """Now they have to be done, and no more of them."""
        self.log.append(f"wait {event}")
        for room, pinned in self.asked[self.done : event]:
            room.copy_(pinned)
        self.done = max(self.done, event)

    def keep(self, tensor: Tensor) -> None:
        """In use from here on."""
        self.kept.append(tensor)


def reusing(count: int) -> Iterator[dict[str, Any]]:
    """Batches in one buffer, as a loader may make them: valid until the next one is asked for."""
    buffer = torch.zeros(2, dtype=torch.uint8)
    for number in range(count):
        yield {"image": buffer.fill_(number), "index": torch.tensor([number]), "position": (0, number)}


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_batch_has_arrived_when_it_is_used_and_the_next_is_on_its_way(count: int) -> None:
    device = LateDevice()
    for number, batch in enumerate(copied_ahead(reusing(count), device)):
        assert batch["image"].tolist() == [number, number] and batch["index"].tolist() == [number]
        assert batch["position"] == (0, number)
        assert len(device.asked) == 2 * min(number + 2, count) and device.done == 2 * (number + 1)
        assert [one is other for one, other in zip(device.kept[-2:], (batch["image"], batch["index"]), strict=True)] == [
            True
        ] * 2
    assert device.done == 2 * count and len(device.kept) == 2 * count


def test_events_are_recorded_before_they_are_waited_for_and_the_host_is_never_more_than_one_ahead() -> None:
    device = LateDevice()
    list(copied_ahead(reusing(3), device))
    assert device.log == ["record 2", "record 4", "wait 2", "record 6", "wait 4", "wait 6"]


def test_what_ends_early_reads_no_more_and_closes_the_loader() -> None:
    closed: list[int] = []

    def batches() -> Iterator[dict[str, Any]]:
        try:
            yield from reusing(9)
        finally:
            closed.append(1)

    device = LateDevice()
    ahead = copied_ahead(batches(), device)
    next(ahead)
    del ahead
    assert closed == [1] and len(device.asked) == 4


def test_what_a_batch_raises_comes_after_the_batch_before_it() -> None:
    def batches() -> Iterator[dict[str, Any]]:
        yield from reusing(2)
        raise ValueError("a bad sample")

    ahead = copied_ahead(batches(), LateDevice())
    assert [next(ahead)["index"].item() for _ in range(2)] == [0, 1]
    with pytest.raises(ValueError, match="a bad sample"):
        next(ahead)


@pytest.mark.parametrize("loader", ["memory", "threads", "processes"])
def test_every_loader_gives_the_same_ahead(loader: str) -> None:
    words = [("DATASETS.TRAIN", "synthetic:70x3x8x8x5"), ("SOLVER.IMS_PER_BATCH", "16"), ("DATALOADER.LOADER", loader)]
    cfg = load_file(None, [*words, ("INPUT.TRANSFORMS_TRAIN", "[PadCrop]")])
    own, other = (make_data_loader(cfg, "train", build_splits(cfg)) for _ in range(2))
    other.side = LateDevice()
    for each in (own, other):
        each.set_position(2, 1)
    for a, b in zip(own, other, strict=True):
        assert a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())
