"""predictions.csv: what was said of each sample of a test, and how surely."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from data import Splits
from data.dataset import Dataset, labels_of
from engine import distributed
from engine.task import Batch, Outputs
from modeling.losses.outputs import entry


class Row(NamedTuple):
    """What was said of a sample: its number in its split; classes as their numbers, labels as tuples of them, or values."""

    sample: int
    target: Any
    prediction: Any
    confidence: float


class Predictions:
    """Collects, batch by batch, what predictions.csv says of each sample.

    Args:
        kind: of the targets: class, labels or value; see `Dataset.target_kind`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._rows: list[tuple[int, Any, Any, float]] = []

    def add(self, outputs: Outputs, batch: Batch) -> None:
        """index, target, prediction, confidence.

        Confidence is the largest softmax probability; of several labels that of the least certain one, said to be there
        or not; nothing for a regression.
        """
        self._rows += zip(batch["index"].tolist(), *getattr(self, f"_{self.kind}")(outputs, batch["target"]), strict=True)

    def rows(self) -> list[Row]:
        """Those of all ranks, in the order of the data set; every rank has to ask."""
        return [Row(*row) for row in sorted(sum(distributed.gather(self._rows), []), key=lambda row: row[0])]

    def _class(self, outputs: Outputs, target: Any) -> tuple[list[Any], list[Any], list[float]]:
        confidence, prediction = entry(outputs, "logits").float().softmax(dim=1).max(dim=1)
        return target.tolist(), prediction.tolist(), confidence.tolist()

    def _labels(self, outputs: Outputs, target: Any) -> tuple[list[Any], list[Any], list[float]]:
        logits = entry(outputs, "logits").float()
        confidence = logits.abs().sigmoid().min(dim=1).values
        return labels_of(target.cpu()), labels_of((logits > 0).cpu()), confidence.tolist()

    def _value(self, outputs: Outputs, target: Any) -> tuple[list[Any], list[Any], list[float]]:
        value = entry(outputs, "prediction")
        return target.tolist(), value.flatten().tolist(), [float("nan")] * len(target)


def predictions_text(rows: Sequence[Row], splits: Splits, split: str) -> str:
    """The CSV of `rows`, classes by name, several parted by |."""
    dataset = splits.get(split)
    assert dataset is not None
    return as_csv(
        [
            (row.sample, dataset.path(row.sample), splits.text_of(row.target), splits.text_of(row.prediction), row.confidence)
            for row in rows
        ]
    )


def nearest_text(dataset: Dataset, nearest: Sequence[tuple[int, int, float]]) -> str:
    """The CSV of a retrieval, a line a query: its identity, that of the nearest gallery image that counts, and how similar
    the two are (cosine, -1 to 1); nothing where no gallery image counts.

    Args:
        nearest: (number of the query, number of the image or -1, similarity) of each query.
    """

    def name(index: int) -> str:
        return dataset.classes[dataset.targets[index]] if index >= 0 else ""

    return as_csv(
        [
            (index, dataset.path(index), name(index), name(found), similar if found >= 0 else math.nan)
            for index, found, similar in nearest
        ]
    )


def as_csv(rows: Sequence[tuple[int, str, str, str, float]]) -> str:
    """The file: index, path, target, prediction, confidence, which is left empty where it is not a number."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["index", "path", "target", "prediction", "confidence"])
    for *facts, confidence in rows:
        writer.writerow([*facts, "" if math.isnan(confidence) else f"{confidence:.6f}"])
    return file.getvalue()
