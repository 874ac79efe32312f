"""A run's pictures: which there are, what they count, and that they never stand in the way."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, newest, read_json
from PIL import Image
from torch import nn

from engine.analysis.activations import Looked, Seen, draw_activations
from engine.analysis.feature_maps import grad_cam
from engine.figures import curves
from engine.figures.calibration import calibrate, draw_calibration
from engine.figures.classes import draw_confusion, draw_per_class
from engine.figures.grid import Cell, draw_grid
from tracking.screens.sparkline import sparkline

Train = Callable[..., Any]
ALWAYS = {"batch", "curves", "confusion_test", "per_class_test", "calibration_test"}


def test_a_run_leaves_its_pictures_in_its_folder_and_in_tensorboard(train: Train, tmp_path: Path) -> None:
    code, error, _ = train("DATASETS.TRAIN", "synthetic:200x1x8x8x4", *TINY[2:], "MODEL.NAME", "resnet20")
    run = newest(tmp_path / "exp")
    assert code == 0 and "WARNING" not in error, error
    found = {path.stem for path in (run / "figures").glob("*.png")}
    assert ALWAYS | {"activations_test"} <= found <= ALWAYS | {"activations_test", "mistakes_test"}
    for path in (run / "figures").iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 150 and len(picture.convert("RGB").getcolors(2**24) or []) > 20, path
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "runs"), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {"train/batch"} | {f"figures/{name}" for name in found}
    shown = events.Images("figures/curves")[0]
    assert shown.encoded_image_string == (run / "figures" / "curves.png").read_bytes() and shown.step == 36


def test_pictures_can_be_left_out_and_other_targets_have_their_own(train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*TINY, "TEST.FIGURES", "false")
    assert code == 0 and not list((newest(tmp_path / "exp") / "figures").iterdir()), error
    table = tmp_path / "values.csv"
    table.write_text("a,b,target\n" + "".join(f"{n / 7:.3f},{n % 3},{n / 9 + 0.05:.3f}\n" for n in range(60)))
    words = ("DATASETS.TRAIN", f"csv:{table}", *TINY[2:], "NAME", "value", "LOSS.NAME", "mse", "TEST.EVALUATOR", "regression")
    code, error, _ = train(*words)
    found = {path.stem for path in (newest(tmp_path / "exp") / "figures").glob("*.png")}
    assert code == 0 and found == {"curves", "regression_test"}, error


def test_a_picture_that_fails_is_a_warning(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.testing.draw_test", lambda *_: 1 / 0)
    code, error, _ = train(*TINY)
    run = newest(tmp_path / "exp")
    assert code == 0 and "WARNING the pictures of the test split could not be drawn (ZeroDivisionError" in error
    assert read_json(run / "status.json")["status"] == "finished" and (run / "test.json").exists()


def test_a_run_that_is_killed_while_it_draws_keeps_its_scores(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []

    def look(*_: Any) -> None:
        run = newest(tmp_path / "exp")
        kept.extend([read_json(run / "test.json")["metrics"], read_json(run / "status.json")["metrics"]])

    monkeypatch.setattr("engine.testing.draw_test", look)
    assert train(*TINY)[0] == 0
    assert len(kept) == 2 and kept[0]["test/top1"] == kept[1]["test/top1"]["last"]


def test_calibration_error_is_the_mean_gap_of_its_bins() -> None:
    found = calibrate([0.95, 0.95, 0.95, 0.95, 0.55, 0.55, math.nan], [True, True, True, False, False, True, True], bins=10)
    assert found.samples == [2, 4] and found.accuracy == [0.5, 0.75]
    assert found.ece == pytest.approx((2 * 0.05 + 4 * 0.2) / 6)
    edges = calibrate([0.0, 1.0], [False, True])
    assert edges.ece == 0 and edges.samples == [1, 1]
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    logits = torch.randn(300, 5, generator=torch.Generator().manual_seed(0)) * 2
    target = torch.arange(300) % 5
    sure, said = logits.softmax(dim=1).max(dim=1)
    theirs = torchmetrics.multiclass_calibration_error(logits.softmax(dim=1), target, num_classes=5, n_bins=15)
    assert calibrate(sure.tolist(), (said == target).tolist()).ece == pytest.approx(float(theirs), abs=1e-6)


def test_test_json_says_the_calibration_of_its_predictions(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    said = read_json(newest(tmp_path / "exp") / "test.json")
    found = said["calibration"]
    assert sum(found["samples"]) == said["samples"] and 0 <= found["ece"] <= 1
    hits = sum(share * count for share, count in zip(found["accuracy"], found["samples"], strict=True))
    assert hits / said["samples"] == pytest.approx(said["metrics"]["test/top1"])


def test_grad_cam_finds_the_place_that_speaks_for_the_class() -> None:
    first = nn.Conv2d(1, 2, 1, bias=False)
    model = nn.Sequential(first, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        first.weight.copy_(torch.tensor([1.0, -1.0])[:, None, None, None])  # class 0: bright places, class 1: dark ones
    image = torch.zeros(2, 1, 8, 8)
    image[0, 0, 2, 5], image[1, 0, 6, 1] = 3.0, -3.0
    name, shape, maps, predicted = grad_cam(model, image)
    assert predicted.tolist() == [0, 1] and shape == (2, 8, 8) and name in ("0", "1")
    assert [int(one.argmax()) for one in maps] == [2 * 8 + 5, 6 * 8 + 1] and maps.amax(dim=(1, 2)).tolist() == [1, 1]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_curves_have_gaps_where_values_were_not_finite(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": s, "train/loss": None if s == 3 else 1 / s, "lr": 0.1} for s in range(1, 9)]
    steps, values = curves.read_curve(rows, "train/loss")
    assert steps == list(range(1, 9)) and math.isnan(values[2]) and values[1] == 0.5
    assert math.isnan(curves.smoothed(values)[2]) and curves.smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0] * 3)
    assert curves.draw_curves(rows, "a $b", tmp_path / "c.png") == tmp_path / "c.png"
    assert curves.draw_curves([{"step": 1, "lr": 0.1}], "x", tmp_path / "none.png") is None


def test_odd_names_and_many_classes_are_drawn(tmp_path: Path) -> None:
    names = ["$x^", "猫", "a_{b", "<b>\n" * 30, *(f"class {n}" for n in range(60))]
    size = len(names)
    counts = torch.eye(size, dtype=torch.int64) * 3
    draw_confusion(counts, names, "$x^$", tmp_path / "many.png")
    draw_confusion(counts[:4, :4], names[:4], "odd", tmp_path / "odd.png")
    scores = {name: [0.5] * size for name in ("precision", "recall", "f1", "support")}
    draw_per_class(scores, names, "$x^$", tmp_path / "bars.png")
    draw_calibration(calibrate([0.5], [True]), "$x^$", tmp_path / "calibration.png")
    seen = Seen(torch.zeros(8, 8, 3, dtype=torch.uint8), torch.zeros(8, 8), "$x^$", "$x^$")
    draw_activations(Looked("how", "$x^$", [seen]), "$x^$", "", tmp_path / "activations.png")
    grey = torch.zeros(40, 8, 3, dtype=torch.uint8)
    draw_grid([Cell(grey, [(name, "k")]) for name in names[:3]], "$", "one", tmp_path / "grid.png")
    assert len(list(tmp_path.glob("*.png"))) == 6


def test_show_draws_a_curve_in_a_line(train: Train, tmp_path: Path) -> None:
    assert sparkline([0, 1, 2, 3], 4) == "▁▃▆█" and sparkline([5, 5], 9) == "▁▁" and sparkline([1], 9) == ""
    assert sparkline([0, None, math.nan, 1], 4) == "▁  █" and sparkline([None, None], 9) == ""
    assert len(sparkline(list(range(1000)), 20)) == 20
    assert train(*TINY)[0] == 0
    metrics = newest(tmp_path / "exp") / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write(json.dumps({"step": 99, "val/top1": "no number"}) + "\n")
    import exp

    code, error, said = train("show", "last", main=exp.main)
    line = next(line for line in said.splitlines() if line.startswith("val/top1"))
    assert code == 0 and len(set(line) & set("▁▂▃▄▅▆▇█")) >= 1, (error, said)


def test_a_model_that_is_no_classifier_of_images_gets_no_activations(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0  # a perceptron has no map of features
    assert not (newest(tmp_path / "exp") / "figures" / "activations_test.png").exists()


def test_targets_of_any_kind_do_not_stand_in_the_way(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from engine.hooks.figures import FiguresHook

    class Loader:
        def __init__(self, batch: dict[str, Any]) -> None:
            self.batch = batch

        def set_position(self, epoch: int, batch: int) -> None: ...

        def __iter__(self) -> Any:
            return iter([self.batch])

    image = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    others: list[dict[str, Any]] = [{"target": [{"boxes": 1}] * 3}, {}, {"target": torch.zeros(3, 8, 8)}]
    for number, more in enumerate(others):
        folder = tmp_path / str(number)
        run = SimpleNamespace(path=folder, figures_dir=folder)
        splits: Any = SimpleNamespace(train=SimpleNamespace(name="boxes", target_kind="class"))
        hook, trainer = FiguresHook(run, splits, None, None), SimpleNamespace(step=0, loader=Loader({"image": image, **more}))
        hook.before_train(trainer)  # type: ignore[arg-type]
        hook.draw()
        assert (folder / "batch.png").exists()
