"""Scaling the rate with the batch is explicit: off by default, its arithmetic on the card and its result in the rate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, newest

from config import load_file
from solver import describe_lr, effective_lr, make_lr_scheduler
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
KEYS = [("SOLVER.BASE_LR", "0.1"), ("SOLVER.IMS_PER_BATCH", "256"), ("SOLVER.LR_SCALING_BATCH", "64")]


@pytest.mark.parametrize(
    ("rule", "rate", "said"),
    [
        ("", 0.1, "not scaled with the batch"),
        ("linear", 0.4, "0.1 x 256/64 = 0.4 (linear in the batch)"),
        ("sqrt", 0.2, "0.1 x sqrt(256/64) = 0.2 (sqrt in the batch)"),
    ],
)
def test_each_rule_is_this_rate(rule: str, rate: float, said: str) -> None:
    cfg = load_file(None, [*KEYS, ("SOLVER.LR_SCALING", rule)])
    assert effective_lr(cfg) == pytest.approx(rate) and describe_lr(cfg) == said
    assert make_lr_scheduler(cfg, total_steps=10)(0) == pytest.approx(rate)
    assert cfg.SOLVER.BASE_LR == 0.1 and cfg.flat()["SOLVER.BASE_LR"] == 0.1


def test_warm_up_ends_at_the_scaled_rate() -> None:
    words = [("SOLVER.LR_SCALING", "linear"), ("SOLVER.WARMUP_ITERS", "2"), ("SOLVER.WARMUP_FACTOR", "0.5")]
    schedule = make_lr_scheduler(load_file(None, [*KEYS, *words]), total_steps=10)
    assert [schedule(step) for step in range(3)] == pytest.approx([0.2, 0.3, 0.4])


def test_a_rule_without_its_batch_is_refused() -> None:
    with pytest.raises(UserError, match="SOLVER.LR_SCALING_BATCH"):
        effective_lr(load_file(None, [("SOLVER.LR_SCALING", "sqrt")]))
    with pytest.raises(UserError, match='one of "" .off., linear, sqrt'):
        load_file(None, [("SOLVER.LR_SCALING", "cubic")])


def test_card_and_metrics_show_the_scaled_rate(train: Train, tmp_path: Path) -> None:
    words = ["SOLVER.BASE_LR", "0.01", "SOLVER.LR_SCALING", "linear", "SOLVER.LR_SCALING_BATCH", "8"]
    code, log, _ = train(*TINY, *words, "SOLVER.MAX_EPOCHS", "1")
    assert code == 0 and "0.01 x 16/8 = 0.02" in log, log
    rows = [json.loads(line) for line in (newest(tmp_path / "exp") / "metrics.jsonl").read_text().splitlines()]
    assert {row["lr"] for row in rows if "lr" in row} == {0.02}
