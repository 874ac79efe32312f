"""The pictures of a test: confusion, classes, calibration, mistakes, regression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from data import Splits
from engine.figures.calibration import Calibration, draw_calibration
from engine.figures.classes import draw_confusion, draw_per_class
from engine.figures.grid import Cell, draw_grid
from engine.figures.pictures import BLUE, GREY, INK, ORANGE, new_axes, save, short, small
from engine.predictions import Row

MISTAKES = 24


def draw_test(result: dict[str, Any], rows: Sequence[Row], confusion: Tensor | None, splits: Splits, folder: Path) -> None:
    """Into `folder`, those that make sense for these targets: confusion_test.png, per_class_test.png, ... (or val, train).

    Args:
        result: what test.json says.
        rows: of predictions.csv.
        confusion: C x C counts of a classification.
    """
    split, name = result["split"], result["dataset"]
    if "per_class" in result:
        title = f"{name}, {split}: each class"
        draw_per_class(result["per_class"], splits.classes, title, folder / f"per_class_{split}.png")
    if confusion is not None:
        draw_confusion(confusion, splits.classes, f"{name}, {split}: confusion", folder / f"confusion_{split}.png")
        found = Calibration(**result["calibration"])
        draw_calibration(found, f"{name}, {split}: calibration", folder / f"calibration_{split}.png")
        draw_mistakes(rows, splits, split, folder / f"mistakes_{split}.png")
    elif rows and splits.train.target_kind == "value":
        draw_regression(rows, f"{name}, {split}: predicted and true", folder / f"regression_{split}.png")


def draw_mistakes(rows: Sequence[Row], splits: Splits, split: str, path: Path) -> Path | None:
    """The wrong predictions that the model was most sure of, each with its file; none, no picture."""
    dataset = splits.get(split)
    assert dataset is not None
    wrong = sorted((row for row in rows if row.prediction != row.target), key=lambda row: (-row.confidence, row.sample))
    path.unlink(missing_ok=True)  # of earlier weights
    shown = [(row, dataset[row.sample]["image"]) for row in wrong[:MISTAKES]]
    if not shown or any(image.ndim != 3 or min(image.shape[1:]) < 2 for _, image in shown):
        return None
    cells = []
    for row, image in shown:
        file = Path(dataset.path(row.sample))
        name = "/".join(file.parts[-2:]) if file.suffix else file.name
        said = (f"{short(splits.text_of(row.prediction), 11)} ({row.confidence:.3f})", ORANGE)
        cells.append(Cell(small(image), [said, (f"is {splits.text_of(row.target)}", INK), (name, GREY)]))
    title = f"{dataset.name}, {split}: the most confident mistakes"
    below = f"{len(shown)} of {len(wrong):,} mistakes among {len(rows):,} samples; predicted and how surely, true, where from"
    return draw_grid(cells, title, below, path)


def draw_regression(rows: Sequence[Row], title: str, path: Path) -> Path:
    """Predicted over true values."""
    figure, axes = new_axes(title, "true", "predicted")
    ends = [min(row.target for row in rows), max(row.target for row in rows)]
    axes.plot(ends, ends, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.plot([row.target for row in rows], [row.prediction for row in rows], ".", color=BLUE, alpha=0.5, markersize=5)
    return save(figure, path)
