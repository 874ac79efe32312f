"""The fast recipe trains, and its benchmark counts time as it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

from benchmarks import accuracy
from config import load_file
from modeling.blocks import find_blocks
from modeling.build import build_model

RECIPE = ["--config-file", str(ROOT / "configs" / "train_mnist_fast.yml"), "--device", "cpu"]


def test_resnet_fast_takes_any_size() -> None:
    model = build_model(load_file(None, [("MODEL.NAME", "resnet_fast")]), in_channels=1, num_classes=10, image_size=(28, 28))
    assert sum(parameter.numel() for parameter in model.parameters()) == 75_626
    assert len(find_blocks(model)) == 2
    for size in ((28, 28), (7, 9), (1, 1)):
        assert model.eval()(torch.randn(2, 1, *size)).shape == (2, 10)


def test_the_fast_recipe_learns(train: Callable[..., Any], tmp_path: Path) -> None:
    keys = ["DATASETS.TRAIN", "synthetic:640x1x28x28x10", "SOLVER.MAX_EPOCHS", "3", "SOLVER.LOG_PERIOD", "5"]
    code, error, _ = train(*RECIPE, *keys)
    assert code == 0, error
    (rows,) = (tmp_path / "exp").glob("train_mnist_fast_*/metrics.jsonl")
    losses = [row["train/loss"] for row in map(json.loads, rows.read_text().splitlines()) if "train/loss" in row]
    assert len(losses) == 3 and losses[-1] < 0.7 * losses[0], losses


def test_time_to_the_goal_ends_at_the_first_epoch_that_is_there() -> None:
    slow = [(10.0, 0.98), (20.0, 0.9939), (30.0, 0.994), (40.0, 0.996)]
    never = [(5.0, 0.98), (9.0, 0.9931)]
    assert accuracy.time_to_goal(slow) == 30 and accuracy.time_to_goal(never) == 9
    result = accuracy.summary({"ours": [slow, never], "by_hand": [slow, slow]})
    assert result["ratio"] == pytest.approx((1 + 0.3) / 2) and result["rounds"] == 2
    assert result["ours_reached"] == 1 and result["by_hand_reached"] == 2 and result["ours_top1"] == [0.996, 0.9931]


def test_without_mnist_the_benchmark_says_so_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"needs MNIST .*--data") as end:
        accuracy.find_mnist([tmp_path])
    assert "\n" not in str(end.value)


@pytest.mark.slow
def test_one_epoch_reaches_98_percent(train: Callable[..., Any], shared: Path, tmp_path: Path) -> None:
    code, error, _ = train(*RECIPE, "DATASETS.ROOT", str(shared / "mnist"), "SOLVER.MAX_EPOCHS", "1")
    assert code == 0, error
    (result,) = (tmp_path / "exp").glob("train_mnist_fast_*/test.json")
    assert json.loads(result.read_text())["metrics"]["test/top1"] >= 0.98
