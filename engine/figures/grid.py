"""Images in rows, each with a few words below it: samples, the most confident mistakes, predictions of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from engine.figures.pictures import BLUE, GREY, INK, ORANGE, literal, new_canvas, place, save, short

COLUMNS = 8
BAR = 0.045  # inches, height
WIDTH, LINE, GAP, MARGIN, TOP = 1.25, 0.19, 0.16, 0.2, 0.85  # inches: of an image, a line of words, between, around, above


class Cell(NamedTuple):
    """An image, H x W x 3 uint8, and the lines below it: (text, colour).

    Attributes:
        share: 0 to 1, drawn as a bar between them, blue above 1/2, else orange; None for no bar.
    """

    image: Tensor
    lines: Sequence[tuple[str, str]]
    share: float | None = None


def draw_grid(cells: Sequence[Cell], title: str, below: str, path: Path) -> Path:
    """The cells in rows of eight, under a title and a pale line of words."""
    columns = min(len(cells), COLUMNS)
    rows, lines = -(-len(cells) // columns), max(len(cell.lines) for cell in cells)
    room = 2 * BAR if any(cell.share is not None for cell in cells) else 0.0
    shapes = sorted(cell.image.shape[0] / cell.image.shape[1] for cell in cells)
    tall = WIDTH * min(max(shapes[len(shapes) // 2], 0.5), 2.0)
    step, drop = WIDTH + GAP, tall + room + lines * LINE + GAP
    width, height = max(columns * step - GAP + 2 * MARGIN, 5.5), TOP + rows * drop + MARGIN - GAP
    figure, axes = new_canvas(width, height)
    axes.text(MARGIN, 0.3, short(title, 90), fontsize=13, color=INK, fontweight="bold", va="center")
    axes.text(MARGIN, 0.56, literal(below), fontsize=9.5, color=GREY, va="center")
    for number, cell in enumerate(cells):
        left, top = MARGIN + number % columns * step, TOP + number // columns * drop
        place(axes, cell.image, left, top, WIDTH, tall)
        if cell.share is not None:
            for width, colour in ((WIDTH, "#e6e6e6"), (WIDTH * cell.share, BLUE if cell.share > 0.5 else ORANGE)):
                axes.fill_between((left, left + width), top + tall + BAR, top + tall + 2 * BAR, color=colour, linewidth=0)
        for line, (text, colour) in enumerate(cell.lines):
            at = top + tall + room + 0.05 + line * LINE
            axes.text(left, at, short(text, 20), fontsize=8.5 if line == 0 else 7, color=colour, va="top")
    return save(figure, path)
