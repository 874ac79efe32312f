"""The rate falls when the validation score does not rise: as torch's ReduceLROnPlateau has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from conftest import TINY, newest

from engine.hooks.plateau import PlateauHook

Train = Callable[..., tuple[int, str, str]]
SCORES = [0.1, 0.3, 0.3, 0.305, 0.2, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]


def fed(scores: list[float], **keys: Any) -> tuple[PlateauHook, list[float]]:
    """The hook, and the rate after each score, from a rate of 1."""
    evaluation: Any = SimpleNamespace(score=None, fresh=True)
    hook = PlateauHook(evaluation, lambda step: 1.0, **keys)
    trainer: Any = SimpleNamespace(step=1)
    rates = []
    for score in scores:
        evaluation.score = score
        hook.after_epoch(trainer)
        rates.append(hook.rate(0))
    return hook, rates


def test_the_rate_falls_at_these_validations() -> None:
    _, rates = fed(SCORES, gamma=0.5, patience=2, threshold=0.01)
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625]
    _, floored = fed(SCORES, gamma=0.5, patience=2, threshold=0.01, least=0.2)
    assert floored == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]


def test_it_is_torch_s_with_one_more_patience() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "max", factor=0.5, patience=1, threshold=0.01, threshold_mode="abs", eps=0
    )
    expected = []
    for score in SCORES:
        oracle.step(score)
        expected.append(optimizer.param_groups[0]["lr"])
    assert fed(SCORES, gamma=0.5, patience=2, threshold=0.01)[1] == expected


def test_its_state_comes_back() -> None:
    half, _ = fed(SCORES[:9], gamma=0.5, patience=2)
    whole, rates = fed(SCORES, gamma=0.5, patience=2)
    other, _ = fed([], gamma=0.5, patience=2)
    other.load_state_dict(half.state_dict())
    for score in SCORES[9:]:
        other.evaluation.score, other.evaluation.fresh = score, True
        other.after_epoch(SimpleNamespace(step=1))  # type: ignore[arg-type]
    assert other.state_dict() == whole.state_dict() and other.rate(0) == rates[-1]


PLATEAU = ["SOLVER.SCHEDULE", "plateau", "SOLVER.PLATEAU_PATIENCE", "1", "SOLVER.PLATEAU_THRESHOLD", "9", "SOLVER.GAMMA", "0.5"]


def test_the_rate_of_a_run_falls(train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*TINY, *PLATEAU, "SOLVER.BASE_LR", "0.1")
    assert code == 0, log
    rows = [json.loads(line) for line in (newest(tmp_path / "exp") / "metrics.jsonl").read_text().splitlines()]
    rates = {row["epoch"]: row["lr"] for row in rows if "lr" in row}
    assert sorted(set(rates.values()), reverse=True) == [0.1, 0.05] and "the rate falls to 0.05" in log


def test_without_validation_it_is_an_error(train: Train) -> None:
    code, error, _ = train(*TINY, *PLATEAU, "DATASETS.VAL_FRACTION", "0")
    assert code == 2 and "SOLVER.SCHEDULE plateau needs a validation split" in error
