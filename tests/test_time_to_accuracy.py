"""The fast recipe trains, and its benchmark counts time as it says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

from benchmarks import accuracy, page
from config import load_file
from data import build_splits, make_data_loader
from data.loaders.device import why_not_on_device
from modeling.blocks import find_blocks
from modeling.build import build_model

RECIPE = ["--config-file", str(ROOT / "configs" / "train_mnist_fast.yml"), "--device", "cpu"]


@pytest.mark.parametrize(
    ("name", "channels", "size", "parameters"), [("resnet_fast", 1, 28, 75_626), ("resnet9", 3, 32, 6_573_120)]
)
def test_a_fast_net_is_that_of_its_paper_and_takes_any_size(name: str, channels: int, size: int, parameters: int) -> None:
    cfg = load_file(None, [("MODEL.NAME", name)])
    model = build_model(cfg, in_channels=channels, num_classes=10, image_size=(size, size))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len(find_blocks(model)) == 2
    for shape in ((size, size), (7, 9), (1, 1)):
        assert model.eval()(torch.randn(2, channels, *shape)).shape == (2, 10)


def test_the_fast_recipe_learns(train: Callable[..., Any], tmp_path: Path) -> None:
    keys = ["DATASETS.TRAIN", "synthetic:640x1x28x28x10", "SOLVER.MAX_EPOCHS", "3", "SOLVER.LOG_PERIOD", "5"]
    code, error, _ = train(*RECIPE, *keys)
    assert code == 0, error
    (rows,) = (tmp_path / "exp").glob("train_mnist_fast_*/metrics.jsonl")
    losses = [row["train/loss"] for row in map(json.loads, rows.read_text().splitlines()) if "train/loss" in row]
    assert len(losses) == 3 and losses[-1] < 0.7 * losses[0], losses


def test_the_cifar10_recipe_learns_and_could_lie_on_a_gpu(train: Callable[..., Any], tmp_path: Path) -> None:
    """At its rates, with few and small images; what a CPU lacks is left out."""
    recipe = ["--config-file", str(ROOT / "configs" / "train_cifar10_fast.yml"), "--device", "cpu"]
    keys = (
        "DATASETS.TRAIN synthetic:160x3x8x8x4 SOLVER.IMS_PER_BATCH 16 SOLVER.MAX_EPOCHS 2 INPUT.PADDING 1 SOLVER.WARMUP_ITERS 4"
    )
    keys += " SOLVER.LOG_PERIOD 4 MODEL.COMPILE false SOLVER.PRECISION fp32 TEST.FIGURES false TEST.AT_END false"
    code, error, _ = train(*recipe, *keys.split())
    assert code == 0, error
    (run,) = (tmp_path / "exp").glob("train_cifar10_fast_*")
    losses = [
        row["train/loss"] for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "train/loss" in row
    ]
    assert losses[-1] < 0.8 * losses[0], losses
    cfg = load_file(run / "config.yml", [])
    assert why_not_on_device(make_data_loader(cfg, "train", build_splits(cfg)).fetcher, 10**9) == ""


SLOW = [(10.0, 0.98), (20.0, 0.9939), (30.0, 0.994), (40.0, 0.996)]
QUICK = [(5.0, 0.98), (9.0, 0.9941)]
NEVER = [(5.0, 0.98), (9.0, 0.9931)]


def test_time_to_the_goal_ends_at_the_first_epoch_that_is_there() -> None:
    assert accuracy.time_to_goal(SLOW) == 30 and accuracy.time_to_goal(NEVER) == math.inf
    result = accuracy.summary({"ours": [SLOW, QUICK], "by_hand": [SLOW, SLOW]})
    assert result["ratio"] == pytest.approx((1 + 0.3) / 2) and result["rounds"] == 2 and result["reached"]
    assert result["spread"] == pytest.approx([0.3, 1.0]) and result["ours_top1"] == [0.996, 0.9941]


@pytest.mark.parametrize(("ours", "ratio"), [([NEVER], None), ([QUICK, NEVER, QUICK], 0.3)])
def test_a_recipe_that_does_not_get_there_never_wins(ours: list[Any], ratio: float | None) -> None:
    result = accuracy.summary({"ours": ours, "by_hand": [SLOW] * len(ours)})
    assert result["ratio"] == (ratio if ratio is None else pytest.approx(ratio))
    assert not result["reached"] and result["spread"][1] is None and result["ours_reached"] == len(ours) - 1
    json.dumps(result, allow_nan=False)
    text = "\n".join(page.section("accuracy", result))
    assert "**missed**" in text and "kept" not in text and f"ours {len(ours) - 1} of {len(ours)}" in text


def test_a_hand_recipe_that_does_not_get_there_counts_with_no_more_than_it_took() -> None:
    result = accuracy.summary({"ours": [QUICK], "by_hand": [[(10.0, 0.98), (18.0, 0.9)]]})
    assert result["ratio"] == 0.5 and result["by_hand_s"] is None and result["by_hand_reached"] == 0 and result["reached"]


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
