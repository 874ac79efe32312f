"""A picture of images with what was said of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from data.images import read_image
from engine.analysis.pictures import BLUE, GREY, INK, ORANGE, save, short, small
from engine.shipping.predictor import Prediction

MOST, COLUMNS = 48, 8
# lengths, where the width of a cell is 1
GAP, CAPTION, BAR = 0.2, 0.4, 0.035
SUFFIXES = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")


def draw_grid(predictions: Sequence[Prediction], channels: int, title: str, path: Path) -> Path:
    """At most MOST images, each as large as fits into its cell, with the class, its probability as a number and a bar (blue
    above 1/2, orange below) and the file's name.

    Args:
        channels: 1 draws images grey, as the model sees them.
        title: one line above all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    shown = list(predictions[:MOST])
    images = [numpy.asarray(small(read_image(one.path, channels))) for one in shown]
    columns = min(COLUMNS, max(len(shown), 3))
    shapes = sorted(image.shape[0] / image.shape[1] for image in images)
    tall = min(max(shapes[len(shapes) // 2], 0.6), 1.4) if shapes else 1.0
    rows = -(-len(shown) // columns)
    width, height = columns + (columns - 1) * GAP, rows * (tall + CAPTION + GAP) - GAP
    figure = Figure(figsize=((width + 0.5) * 1.35, (height + 0.95) * 1.35))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.25, width + 0.25), ylim=(height + 0.2, -0.75))
    axes.axis("off")
    axes.text(0, -0.3, title, fontsize=13, color=INK, fontweight="bold", va="center")
    for number, (one, image) in enumerate(zip(shown, images, strict=True)):
        row, column = divmod(number, columns)
        left, top = column * (1 + GAP), row * (tall + CAPTION + GAP)
        _draw(axes, image, left, top, tall)
        _caption(axes, one, left, top + tall)
    return save(figure, path)


def _draw(axes: Any, image: numpy.ndarray, left: float, top: float, tall: float) -> None:
    """In the middle of its cell, at its foot; few pixels stay squares."""
    shape = image.shape[0] / image.shape[1]
    width, height = (tall / shape, tall) if shape > tall else (1.0, shape)
    left, top = left + (1 - width) / 2, top + tall - height
    axes.imshow(image, extent=(left, left + width, top + height, top), interpolation="antialiased", aspect="auto")


def _caption(axes: Any, one: Prediction, left: float, top: float) -> None:
    from matplotlib.patches import Rectangle

    sure = one.confidence
    if sure is not None:
        colour = BLUE if sure > 0.5 else ORANGE
        axes.add_patch(Rectangle((left, top + 0.05), 1, BAR, facecolor="#e6e6e6", edgecolor="none"))
        axes.add_patch(Rectangle((left, top + 0.05), sure, BAR, facecolor=colour, edgecolor="none"))
        axes.text(left + 1, top + 0.19, f"{sure:.2f}", fontsize=8, color=colour, va="center", ha="right")
    said = one.prediction if one.top or not one.prediction else f"{float(one.prediction):.4g}"
    text = said.replace("|", ", ") or "none of the classes"
    axes.text(left, top + 0.19, _first(text, 15), fontsize=8, color=INK, va="center", fontweight="bold")
    axes.text(left, top + 0.33, short(Path(one.path).name, 24), fontsize=6, color=GREY, va="center")


def _first(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"
