"""The test of a run's weights, and the files it leaves: test.json, predictions.csv, the confusion matrix as a picture."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import Config
from data import Splits
from engine import distributed
from engine.build import build_evaluator, make_scorer
from engine.evaluators.classification import ClassificationEvaluator, logits_of
from engine.task import Batch, Outputs, Task
from utils.files import write_atomic


class Predictions:
    """Collects, batch by batch, what predictions.csv says of each sample."""

    def __init__(self, classification: bool) -> None:
        self.classification = classification
        self.rows: list[tuple[int, float, float, float]] = []

    def add(self, outputs: Outputs, batch: Batch) -> None:
        """index, target, prediction, confidence (the largest softmax probability; empty for regressions)."""
        index, target = batch["index"].tolist(), batch["target"].tolist()
        if self.classification:
            confidence, prediction = logits_of(outputs).float().softmax(dim=1).max(dim=1)
            self.rows += zip(index, target, prediction.tolist(), confidence.tolist(), strict=True)
            return
        value: Tensor = outputs["prediction"] if isinstance(outputs, dict) else outputs
        self.rows += ((i, t, p, float("nan")) for i, t, p in zip(index, target, value.flatten().tolist(), strict=True))

    def text(self, splits: Splits, split: str) -> str:
        """The CSV, classes by name, in the order of the data set."""
        dataset = splits.get(split)
        assert dataset is not None
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "path", "target", "prediction", "confidence"])
        for index, target, prediction, confidence in sorted(sum(distributed.gather(self.rows), [])):
            names = [splits.classes[int(t)] if splits.classes else t for t in (target, prediction)]
            writer.writerow([index, dataset.path(index), *names, f"{confidence:.6f}" if splits.classes else ""])
        return file.getvalue()


def run_test(
    cfg: Config, task: Task, splits: Splits, split: str, device: torch.device, folder: Path | None, weights: str
) -> dict[str, Any]:
    """Scores of `task` on a split, as test.json has them.

    Args:
        folder: where test.json, predictions.csv and figures/ go; None writes nothing.
        weights: the name of the weights' file, for the record.
    """
    evaluator = build_evaluator(cfg, splits.num_classes, device)
    classification = isinstance(evaluator, ClassificationEvaluator)
    predictions = Predictions(classification)
    plain_target = classification or cfg.TEST.EVALUATOR == "regression"
    scorer = make_scorer(cfg, task, splits, split, device, evaluator)
    scores = scorer(predictions.add if plain_target else None)
    dataset = splits.get(split)
    assert dataset is not None
    result: dict[str, Any] = {
        "schema": 1,
        "metrics": {f"{split}/{name}": value for name, value in scores.items()},
        "split": split,
        "samples": len(dataset),
        "dataset": dataset.name,
        "weights": weights,
    }
    confusion = None
    if isinstance(evaluator, ClassificationEvaluator):
        confusion = evaluator.confusion()  # over ranks, so on every rank
        result["per_class"] = {"classes": splits.classes, **evaluator.per_class()}
    text = predictions.text(splits, split) if plain_target else ""
    if folder is not None and distributed.is_main():
        folder.mkdir(parents=True, exist_ok=True)
        if text:
            write_atomic(folder / "predictions.csv", text)
        if confusion is not None:
            draw_confusion(confusion, splits.classes, folder / "figures" / f"confusion_{split}.png")
    return result


def draw_confusion(counts: Tensor, classes: list[str], path: Path) -> None:
    """The confusion matrix as a picture: shades are shares of the true class, numbers are counts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    side = min(max(4.0, 0.45 * len(classes) + 1.8), 16.0)
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title=f"{int(counts.trace())} of {int(counts.sum())} right")
    if len(classes) <= 30:
        axes.set_xticks(range(len(classes)), classes, rotation=45 if max(map(len, classes)) > 2 else 0)
        axes.set_yticks(range(len(classes)), classes)
        for row in range(len(classes)):
            for column in range(len(classes)):
                if counts[row, column]:
                    shade = "white" if shares[row, column] > 0.5 else "#223"
                    axes.text(column, row, str(int(counts[row, column])), ha="center", va="center", color=shade, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
