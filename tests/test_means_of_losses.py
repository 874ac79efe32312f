"""Means of named losses are right where some batches lack a name, where ranks see names in another order, and when resumed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from engine import distributed
from engine.meters import ExactMeans, MeanMeter

CPU = torch.device("cpu")
STEPS = [({"loss": 2.0}, 4), ({"loss": 5.0, "loss_rare": 1.0}, 2), ({"loss": 1.0}, 1), ({"loss_rare": 4.0, "loss": 3.0}, 1)]
MEANS = {"loss": (8 + 10 + 1 + 3) / 8, "loss_rare": (2 + 4) / 3}
Meter = MeanMeter | ExactMeans


def fed(kind: type[Meter], steps: list[tuple[dict[str, float], int]]) -> Meter:
    """A meter that was told of these steps."""
    meter = kind(CPU)
    for values, count in steps:
        meter.add({name: torch.tensor(value) for name, value in values.items()}, count)
    return meter


@pytest.fixture
def on_ranks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], Any]], list[Any]]:
    """`on_ranks(act)` is act(rank) on two ranks, which are threads here."""
    own, boxes, barrier = threading.local(), [None, None], threading.Barrier(2, timeout=10)

    def gather(value: Any) -> list[Any]:
        boxes[own.rank] = value
        barrier.wait()
        found = list(boxes)
        barrier.wait()
        return found

    def begin(act: Callable[[int], Any], rank: int) -> Any:
        own.rank = rank
        return act(rank)

    def run(act: Callable[[int], Any]) -> list[Any]:
        monkeypatch.setattr(distributed, "gather", gather)
        monkeypatch.setattr(distributed, "all_reduce_sum", lambda tensor: torch.stack(gather(tensor)).sum(dim=0))
        monkeypatch.setattr(distributed, "rank", lambda: own.rank)
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda rank: begin(act, rank), range(2)))
        monkeypatch.undo()
        return found

    return run


@pytest.mark.parametrize("kind", [MeanMeter, ExactMeans])
def test_a_loss_that_some_batches_lack_is_the_mean_over_those_that_have_it(kind: type[Meter]) -> None:
    assert fed(kind, STEPS).read() == pytest.approx(MEANS)
    assert fed(kind, STEPS[::-1]).read() == pytest.approx(MEANS)


@pytest.mark.parametrize("kind", [MeanMeter, ExactMeans])
@pytest.mark.parametrize("shares", [(slice(0, 2), slice(2, 4)), (slice(0, 0), slice(0, 4))], ids=["both", "one has none"])
def test_ranks_that_see_losses_in_another_order_agree(kind: type[Meter], shares: tuple[slice, slice], on_ranks: Any) -> None:
    assert on_ranks(lambda rank: fed(kind, STEPS[shares[rank]]).read()) == [pytest.approx(MEANS)] * 2


def test_a_resumed_meter_goes_on_also_with_fewer_ranks(on_ranks: Any) -> None:
    (state, _) = on_ranks(lambda rank: fed(MeanMeter, STEPS[rank : rank + 2]).state_dict())  # type: ignore[union-attr]
    meter = MeanMeter(CPU)
    meter.load_state_dict(state)
    meter.add({"loss": torch.tensor(3.0)}, 1)
    assert meter.read() == pytest.approx({"loss": (8 + 10 + 10 + 1 + 3) / 10, "loss_rare": 1.0})
    meter.load_state_dict({"ranks": [{"sums": {"loss": 6.0}, "count": 3}]})  # as it was written before names were counted
    assert meter.read() == {"loss": 2.0}
