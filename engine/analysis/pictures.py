"""One look for curves: colours that the colour-blind tell apart (Okabe and Ito, 2008), letters that survive shrinking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

INK, GREY, BLUE, ORANGE, GREEN, SKY = "#222222", "#8a8a8a", "#0072B2", "#D55E00", "#009E73", "#56B4E9"
LINES = (BLUE, ORANGE, GREEN, SKY, INK)


def new_axes(title: str, xlabel: str, ylabel: str) -> tuple[Any, Any]:
    """A figure of 7 x 4 inches and its axes: no box, a pale grid, titles on the left."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=13, color=INK, fontweight="bold", pad=12)
    axes.set_xlabel(xlabel, fontsize=12, color=INK)
    axes.set_ylabel(ylabel, fontsize=12, color=INK)
    axes.tick_params(labelsize=11, colors=INK)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    return figure, axes


def save(figure: Any, path: Path) -> Path:
    """Writes the picture, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
