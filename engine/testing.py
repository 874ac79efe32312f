"""The test of a run's weights, and the files it leaves: test.json, predictions.csv, a picture of what was confused or found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import Config
from data import Splits
from data.dataset import Dataset
from engine import distributed
from engine.analysis.ranked import choose_queries, draw_ranked
from engine.evaluators.build import build_evaluator, make_scorer
from engine.evaluators.classification import ClassificationEvaluator
from engine.evaluators.multilabel import MultilabelEvaluator
from engine.evaluators.retrieval import RetrievalEvaluator
from engine.predictions import Predictions, nearest_text
from engine.task import Batch, Task
from utils.files import write_atomic


def run_test(
    cfg: Config, task: Task, splits: Splits, split: str, device: torch.device, folder: Path | None, weights: str
) -> dict[str, Any]:
    """Scores of `task` on a split, as test.json has them.

    Args:
        folder: where test.json, predictions.csv and figures/ go; None writes nothing.
        weights: the name of the weights' file, for the record.
    """
    evaluator = build_evaluator(cfg, splits.num_classes, device)
    # Of an evaluator that does not say what it is for, nobody knows what its outputs mean.
    kinds = getattr(evaluator, "target_kinds", ())
    predictions = Predictions(kinds[0]) if kinds and not splits.train.open_set else None
    scorer = make_scorer(cfg, task, splits, split, device, evaluator)
    count = 0

    def on_batch(outputs: Any, batch: Batch) -> None:
        nonlocal count
        count += len(batch["index"])
        if predictions is not None:
            predictions.add(outputs, batch)

    scores = scorer(on_batch)
    dataset = splits.get(split)
    assert dataset is not None
    result: dict[str, Any] = {
        "schema": 1,
        "metrics": {f"{split}/{name}": value for name, value in scores.items()},
        "split": split,
        "samples": sum(distributed.gather(count)),  # without the bad ones that were left out
        "dataset": dataset.name,
        "weights": weights,
    }
    # These are over ranks, so on every rank.
    confusion = evaluator.confusion() if isinstance(evaluator, ClassificationEvaluator) else None
    if isinstance(evaluator, ClassificationEvaluator | MultilabelEvaluator):
        result["per_class"] = {"classes": splits.classes, **evaluator.per_class()}
    text = predictions.text(splits, split) if predictions else ""
    if folder is not None and distributed.is_main():
        folder.mkdir(parents=True, exist_ok=True)
        if text:
            write_atomic(folder / "predictions.csv", text)
        if isinstance(evaluator, RetrievalEvaluator):
            write_ranked(evaluator, dataset, split, scores, folder)
        if confusion is not None:
            draw_confusion(confusion, splits.classes, folder / "figures" / f"confusion_{split}.png")
    return result


def write_ranked(evaluator: RetrievalEvaluator, dataset: Dataset, split: str, scores: dict[str, float], folder: Path) -> None:
    """predictions.csv, a line a query, and a picture of some of them with what was found."""
    write_atomic(folder / "predictions.csv", nearest_text(dataset, evaluator.nearest()))
    queries = choose_queries(evaluator)
    if queries and dataset[queries[0].sample]["image"].ndim == 3:
        title = f"{split}: rank1 {scores['rank1']:.3f}, mAP {scores['mAP']:.3f}"
        draw_ranked(queries, dataset, title, folder / "figures" / f"ranked_{split}.png")


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
