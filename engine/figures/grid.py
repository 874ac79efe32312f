"""Images in rows, each with a few words below it: a batch as it is trained on, and the most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from engine.analysis.pictures import GREY, INK, new_figure, save, short

COLUMNS = 8
WIDTH, LINE, GAP, MARGIN, TOP = 1.25, 0.19, 0.16, 0.2, 0.85  # inches: of an image, a line of words, between, around, above


class Cell(NamedTuple):
    """An image, H x W x 3 uint8, and the lines below it: (text, colour)."""

    image: Tensor
    lines: Sequence[tuple[str, str]]


def draw_grid(cells: Sequence[Cell], title: str, below: str, path: Path) -> Path:
    """The cells in rows of eight, under a title and a pale line of words."""
    columns = min(len(cells), COLUMNS)
    rows, lines = -(-len(cells) // columns), max(len(cell.lines) for cell in cells)
    shapes = sorted(cell.image.shape[0] / cell.image.shape[1] for cell in cells)
    tall = WIDTH * min(max(shapes[len(shapes) // 2], 0.5), 2.0)
    step, drop = WIDTH + GAP, tall + lines * LINE + GAP
    width, height = max(columns * step - GAP + 2 * MARGIN, 5.5), TOP + rows * drop + MARGIN - GAP
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(MARGIN, 0.3, short(title, 90), fontsize=13, color=INK, fontweight="bold", va="center")
    axes.text(MARGIN, 0.56, below, fontsize=9.5, color=GREY, va="center")
    for number, cell in enumerate(cells):
        left, top = MARGIN + number % columns * step, TOP + number // columns * drop
        _place(axes, cell.image, left, top, tall)
        for place, (text, colour) in enumerate(cell.lines):
            at = top + tall + 0.05 + place * LINE
            axes.text(left, at, short(text, 20), fontsize=8.5 if place == 0 else 7, color=colour, va="top")
    return save(figure, path)


def _place(axes: Any, image: Tensor, left: float, top: float, tall: float) -> None:
    """As large as fits into its cell; small images keep their pixels sharp."""
    shape = image.shape[0] / image.shape[1]
    width, height = (tall / shape, tall) if shape > tall / WIDTH else (WIDTH, WIDTH * shape)
    extent = (left, left + width, top + tall, top + tall - height)
    kind = "nearest" if max(image.shape[:2]) <= 64 else "antialiased"
    axes.imshow(image.numpy(), extent=extent, interpolation=kind, aspect="auto")
