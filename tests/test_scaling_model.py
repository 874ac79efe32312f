"""docs/scaling.md says what its model says, and the model does as its formulas should."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import ROOT

from benchmarks import scaling_model as model


def test_the_page_holds_what_the_model_says() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    assert page.partition("<!-- model -->\n")[2].partition("\n<!-- /model -->")[0] == model.tables()


def test_the_model_prints_one_object() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling_model", "--json"], cwd=ROOT, capture_output=True, text=True
    )
    result = json.loads(done.stdout)
    assert 0 < result["ratio"] < 1 and list(result["ranks"]) == ["8", "64", "1024"]


def test_messages_cost_what_a_ring_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model.VALUES, "latency", 0.0)
    monkeypatch.setitem(model.VALUES, "of_peak", 1.0)
    fast = model.VALUES["nvlink"]
    assert model.all_reduce(fast, 2, fast) == pytest.approx(1.0)  # each sends half, and then the other half's sum
    assert model.all_reduce(fast, 8, 0.0001) == pytest.approx(2 * 7 / 8)  # within a node the network is not used
    assert model.all_reduce(1e9, 16, 1e9) == pytest.approx(2 * 15 / 16)


def test_more_ranks_and_less_network_never_help() -> None:
    ranks = [2, 8, 16, 64, 512, 4096]
    for batch in (8, 256):
        rates = [model.efficiency(batch, count, 200e9) for count in ranks]
        assert rates == sorted(rates, reverse=True)
        assert all(model.efficiency(batch, count, 10e9) <= rate for count, rate in zip(ranks, rates, strict=True))
