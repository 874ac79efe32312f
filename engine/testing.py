"""The test of a run's weights, and the files it leaves: test.json, predictions.csv, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from config import Config
from data import Splits
from engine import distributed
from engine.analysis.activations import draw_activations, look
from engine.analysis.ranked import choose_queries, draw_ranked
from engine.evaluators.build import build_evaluator, make_scorer
from engine.evaluators.classification import ClassificationEvaluator
from engine.evaluators.multilabel import MultilabelEvaluator
from engine.evaluators.retrieval import RetrievalEvaluator
from engine.figures.calibration import calibrate
from engine.figures.of_test import draw_test
from engine.figures.pictures import harmless
from engine.inference import Evaluator
from engine.predictions import Predictions, Row, nearest_text, predictions_text
from engine.sharding import is_sharded
from engine.task import Batch, Task
from utils.errors import UserError
from utils.files import write_atomic

LOOKED_AT = 12  # samples in the picture of where the network looks


class Tested(NamedTuple):
    """What a test gives.

    Attributes:
        result: what test.json says.
        rows: of predictions.csv, where each sample has a prediction of its own.
        confusion: C x C counts of a classification.
        evaluator: as it is after the test.
    """

    result: dict[str, Any]
    rows: list[Row]
    confusion: Tensor | None
    evaluator: Evaluator


def draw_tested(cfg: Config, task: Task, splits: Splits, tested: Tested, device: torch.device, folder: Path) -> None:
    """The pictures of a test into `folder`, by rank 0, where TEST.FIGURES wants them."""
    split = tested.result["split"]
    if cfg.TEST.FIGURES and distributed.is_main():
        with harmless(f"the pictures of the {split} split"):
            draw_test(tested.result, tested.rows, tested.confusion, splits, folder)
            draw_retrieval(tested, splits, split, folder)
            draw_looks(cfg, task, splits, split, device, folder, classifies=tested.confusion is not None)


def judge(cfg: Config, task: Task, splits: Splits, split: str, device: torch.device, weights: str) -> Tested:
    """Scores of `task` on a split, and what is said of each sample; all ranks have to take part, and nothing is written.

    Args:
        weights: the name of the weights' file, or its path, for the record.
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
    confusion = evaluator.confusion() if isinstance(evaluator, ClassificationEvaluator) else None
    if isinstance(evaluator, ClassificationEvaluator | MultilabelEvaluator):
        result["per_class"] = {"classes": splits.classes, **evaluator.per_class()}
    if isinstance(evaluator, RetrievalEvaluator):
        result["queries"] = sum(int((ranking.first > 0).sum()) for ranking in evaluator.rankings)  # those with a match
    rows = predictions.rows() if predictions is not None else []
    if confusion is not None:
        calibration = calibrate([row.confidence for row in rows], [row.prediction == row.target for row in rows])
        result["calibration"] = calibration._asdict()
    return Tested(result, rows, confusion, evaluator)


def write_predictions(tested: Tested, splits: Splits, path: Path) -> None:
    """predictions.csv: a line a sample, or a line a query."""
    split = tested.result["split"]
    dataset = splits.get(split)
    assert dataset is not None
    if isinstance(tested.evaluator, RetrievalEvaluator):
        write_atomic(path, nearest_text(dataset, tested.evaluator.nearest()))
    elif tested.rows:
        write_atomic(path, predictions_text(tested.rows, splits, split))


def draw_retrieval(tested: Tested, splits: Splits, split: str, folder: Path) -> None:
    """Some queries, each with what was found for it."""
    dataset, scores = splits.get(split), tested.result["metrics"]
    if not isinstance(tested.evaluator, RetrievalEvaluator):
        return
    queries = choose_queries(tested.evaluator)
    if dataset is not None and queries and dataset[queries[0].sample]["image"].ndim == 3:
        title = f"{split}: rank1 {scores[f'{split}/rank1']:.3f}, mAP {scores[f'{split}/mAP']:.3f}{tested.evaluator.manner}"
        draw_ranked(queries, dataset, title, folder / f"ranked_{split}.png")


def draw_looks(
    cfg: Config, task: Task, splits: Splits, split: str, device: torch.device, folder: Path, *, classifies: bool
) -> None:
    """Where the network looks, if its model has maps of features at all; not of sharded weights, which no rank has whole."""
    if is_sharded(task):
        return
    try:
        looked = look(cfg, task, splits, split, device, LOOKED_AT, classifies=classifies)
    except UserError:
        return
    dataset = splits.get(split)
    assert dataset is not None
    draw_activations(looked, f"{dataset.name}, {split}: where the network looks", "", folder / f"activations_{split}.png")
