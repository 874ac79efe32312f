"""The model card says what the record says, with intervals, and nothing of what people wrote in it can be markup."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, newest

from tracking.judging.noise import wilson
from tracking.screens.model_card import model_card

Train = Callable[..., tuple[int, str, str]]
FACTS: dict[str, Any] = {
    "input": {"shape": ["batch", 1, 8, 8]}, "steps": [{"resize": [8, 8]}], "output": {"name": "logits", "kind": "class"},
    "classes": ["class_0", "class_1", "class_2", "class_3"],
}  # fmt: skip
TIMES = {"1": 0.5, "32": 2.0}
FILES: list[dict[str, Any]] = [
    {"format": "pytorch", "file": "", "bytes": 1000, "worst": 0.0, "allowed": 1e-4, "images": 64, "latency_ms": TIMES},
    {"format": "onnx", "file": "model.onnx", "bytes": 2000, "worst": 1e-6, "sha256": "ab" * 32, "latency_ms": TIMES},
    {"format": "torch-export", "file": "model.pt2", "failed": "it could not"},
]


def best(run: Path) -> Path:
    """The weights that were tested."""
    return run / "weights" / "best.pt"


def test_the_interval_of_a_share_is_wilsons() -> None:
    from scipy.stats import binomtest

    for right, count in ((0, 5), (5, 5), (1, 40), (607, 1000), (9990, 10000)):
        expected = binomtest(right, count).proportion_ci(method="wilson")
        assert wilson(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_card_says_what_the_record_says(train: Train, tmp_path: Path) -> None:
    why = "does <script>alert(1)</script> | run? [x](javascript:1)" + " and so on" * 500
    for seed in ("0", "1"):
        code, error, _ = train(*TINY, "SEED", seed, "--why", why, "--expect", "test/top1 > 0.5")
        assert code == 0, error
    run = newest(tmp_path / "exp")
    card = model_card(run, FILES, FACTS, best(run))
    record, tested = json.loads((run / "run.json").read_text()), json.loads((run / "test.json").read_text())
    top1 = tested["metrics"]["test/top1"]
    assert f"| test/top1 | {top1:.4f} | " + "{:.4f} to {:.4f} |".format(*wilson(top1, tested["samples"])) in card
    assert "Over 2 runs that differ in their seed alone" in card and record["code_digest"] in card
    assert all(part["digest"] in card and f"| {part['samples']} |" in card for part in record["data"].values())
    assert "| MODEL.NAME | `mlp` |" in card and "run_onnx.py" in card and "model.pt2" not in card
    assert "<script>" not in card and "[x](" not in card and r"\<script\>alert(1)" in card
    assert f"The test has {tested['samples']} images only" in card
    assert f"right by {tested['calibration']['ece']:.4f} on average" in card and "Not tested: images that are" in card
    assert "One of its classes" in card or "is given one of its classes" in card
    mine = card.replace("(for the owner to say: of the weights", "MIT, with thanks (not: of the weights")
    again = model_card(run, FILES, FACTS, best(run), mine)
    assert again == mine and "MIT, with thanks" in again


def test_a_record_that_is_torn_makes_a_card_that_says_so(train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*TINY)
    assert code == 0, error
    run = newest(tmp_path / "exp")
    for name in ("test.json", "status.json", "config.yml"):
        (run / name).write_text("{")
    card = model_card(run, FILES, FACTS, best(run))
    assert "It was not tested." in card and "The run is broken" in card and "No score is known of it." in card


def test_weights_that_were_not_tested_get_no_score(train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*TINY)
    assert code == 0, error
    run = newest(tmp_path / "exp")
    for other in (run / "weights" / "epoch_0001.pt", tmp_path / "best.pt"):
        card = model_card(run, FILES, FACTS, other)
        assert f"These weights ({other.stem}" in card.replace("\\", "") and "the run's test is of best.pt." in card
        assert "| test/top1 |" not in card and "No score is known of it." in card and "Not tested: whether" in card


def test_ranks_are_shares_of_the_queries_and_odd_parts_are_passed_over(train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*TINY)
    assert code == 0, error
    run = newest(tmp_path / "exp")
    record, tested = json.loads((run / "run.json").read_text()), json.loads((run / "test.json").read_text())
    scores = {"test/rank1": 0.5, "test/mAP": 0.25, "test/loss": None}
    (run / "test.json").write_text(json.dumps({**tested, "metrics": scores, "samples": 900, "queries": 40, "per_class": 3}))
    (run / "run.json").write_text(json.dumps({**record, "data": {**record["data"], "val": "gone"}}))
    card = model_card(run, FILES, FACTS, best(run))
    assert "| test/rank1 | 0.5000 | {:.4f} to {:.4f} |".format(*wilson(0.5, 40)) in card and "40 queries have a match" in card
    assert "| test/mAP | 0.2500 |  |" in card and "| test/loss | (not a finite number) |  |" in card


def test_making_a_card_imports_no_torch() -> None:
    code = "import sys; sys.path.insert(0, '.'); import tracking.screens.model_card; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
