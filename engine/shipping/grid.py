"""A picture of images with what was said of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from data.images import read_image
from engine.figures.grid import Cell, draw_grid
from engine.figures.pictures import GREY, INK, small
from engine.shipping.predictor import Prediction

MOST = 48
SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")


def draw_predictions(predictions: Sequence[Prediction], channels: int, title: str, below: str, path: Path) -> Path:
    """At most MOST images, each with the class, its probability as a number and a bar, and the file's name.

    Args:
        channels: 1 draws images grey, as the model sees them.
        title, below: a line above all, and a pale one.
    """
    cells = []
    for one in predictions[:MOST]:
        sure = one.confidence if one.confidence is not None and math.isfinite(one.confidence) else None
        lines = [(_said(one, sure), INK), (Path(one.path).name, GREY)]
        cells.append(Cell(small(read_image(one.path, channels)), lines, sure))
    return draw_grid(cells, title, below, path)


def _said(one: Prediction, sure: float | None) -> str:
    """The class and its probability, cut so that the number stays; or the value."""
    if one.prediction and not one.top:
        return f"{float(one.prediction):.4g}"
    text = one.prediction.replace("|", ", ") or "none of the classes"
    text = text if len(text) <= 13 else f"{text[:12]}\u2026"
    return text if sure is None else f"{text} {sure:.2f}"
