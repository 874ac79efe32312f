"""predictions.csv: what was said of each sample of a test, and how surely."""

from __future__ import annotations

import csv
import io
from typing import Any

from data import Splits
from data.dataset import labels_of
from engine import distributed
from engine.evaluators.classification import logits_of
from engine.task import Batch, Outputs


class Predictions:
    """Collects, batch by batch, what predictions.csv says of each sample.

    Args:
        kind: of the targets: class, labels or value; see `Dataset.target_kind`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.rows: list[tuple[int, Any, Any, float]] = []

    def add(self, outputs: Outputs, batch: Batch) -> None:
        """index, target, prediction, confidence.

        Confidence is the largest softmax probability; of several labels that of the least certain one, said to be there
        or not; nothing for a regression.
        """
        self.rows += zip(batch["index"].tolist(), *getattr(self, f"_{self.kind}")(outputs, batch["target"]), strict=True)

    def text(self, splits: Splits, split: str) -> str:
        """The CSV, classes by name (several parted by |), in the order of the data set."""
        dataset = splits.get(split)
        assert dataset is not None
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["index", "path", "target", "prediction", "confidence"])
        for index, target, prediction, confidence in sorted(sum(distributed.gather(self.rows), [])):
            sure = f"{confidence:.6f}" if splits.classes else ""
            writer.writerow([index, dataset.path(index), splits.text_of(target), splits.text_of(prediction), sure])
        return file.getvalue()

    def _class(self, outputs: Outputs, target: Any) -> tuple[list[Any], list[Any], list[float]]:
        confidence, prediction = logits_of(outputs).float().softmax(dim=1).max(dim=1)
        return target.tolist(), prediction.tolist(), confidence.tolist()

    def _labels(self, outputs: Outputs, target: Any) -> tuple[list[Any], list[Any], list[float]]:
        logits = logits_of(outputs).float()
        confidence = logits.abs().sigmoid().min(dim=1).values
        return labels_of(target.cpu()), labels_of((logits > 0).cpu()), confidence.tolist()

    def _value(self, outputs: Outputs, target: Any) -> tuple[list[Any], list[Any], list[float]]:
        value = outputs["prediction"] if isinstance(outputs, dict) else outputs
        return target.tolist(), value.flatten().tolist(), [float("nan")] * len(target)
