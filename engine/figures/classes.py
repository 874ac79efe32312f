"""What was taken for what, and how well each class is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.figures.pictures import BLUE, GREY, INK, ORANGE, literal, new_figure, save, short, style

NAMED = 40  # classes up to which a confusion matrix names each
COUNTED = 30  # and writes the counts into its cells
BARS = 40  # classes whose bars are drawn: the worst of them, where there are more


def draw_confusion(counts: Tensor, classes: Sequence[str], title: str, path: Path) -> Path:
    """The confusion matrix, C x C (row: true, column: predicted): shades are shares of the true class, numbers are counts."""
    number = len(classes)
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    longest = min(max(map(len, classes)), 16) if number <= NAMED else 4
    room, side = 0.55 + 0.085 * longest, min(max(3.6, 0.42 * number), 14.0)
    width, height = side + room + 0.3, side + room + 0.85
    figure = new_figure(width, height)
    axes = figure.add_axes((room / width, room / height, side / width, side / height))
    figure.text(0.16 / width, 1 - 0.3 / height, literal(title), fontsize=13, fontweight="bold", color=INK, va="center")
    figure.text(0.16 / width, 1 - 0.58 / height, _right(counts), fontsize=10, color=GREY, va="center")
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted", fontsize=12, color=INK)
    axes.set_ylabel("true", fontsize=12, color=INK)
    axes.tick_params(colors=INK, labelsize=10, length=0)
    for spine in axes.spines.values():
        spine.set_color("#dddddd")
    if number <= NAMED:
        names = [short(name, 16) for name in classes]
        axes.set_xticks(range(number), names, rotation=90 if longest > 2 else 0)
        axes.set_yticks(range(number), names)
    for row, column in counts.nonzero().tolist() if number <= COUNTED else ():
        shade = "white" if shares[row, column] > 0.5 else INK
        text = str(int(counts[row, column]))
        size = min(10.5, 72 * side / number / (len(text) + 1.5))
        axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=size)
    return save(figure, path)


def _right(counts: Tensor) -> str:
    return f"{int(counts.trace()):,} of {int(counts.sum()):,} right; shades: share of the true class"


def draw_per_class(scores: Mapping[str, Sequence[float]], classes: Sequence[str], title: str, path: Path) -> Path:
    """A row a class, worst F1 first: the bar is F1, the marks are precision and recall; of many classes only the worst.

    Args:
        scores: precision, recall, f1 (fractions) and support (samples) of each class.
    """
    order = sorted(range(len(classes)), key=lambda i: (scores["f1"][i], i))
    shown = order[:BARS]
    which = f"the {BARS} worst of {len(classes)} classes" if len(order) > BARS else "worst first"
    height = 0.3 * len(shown) + 1.75
    longest = max(min(max(len(classes[i]) for i in shown), 24), 4)
    left = 0.35 + 0.088 * longest
    figure = new_figure(left + 6.2, height)
    width = left + 6.2
    axes = figure.add_axes((left / width, 0.62 / height, 5.0 / width, (height - 1.5) / height))
    style(axes, "", "fraction", "")
    figure.text(0.16 / width, 1 - 0.3 / height, literal(title), fontsize=13, fontweight="bold", color=INK, va="center")
    figure.text(0.16 / width, 1 - 0.58 / height, f"F1 of each class, {which}", fontsize=10, color=GREY, va="center")
    places = range(len(shown))
    axes.barh(places, [scores["f1"][i] for i in shown], height=0.62, color=BLUE, alpha=0.35, label="F1")
    for name, marker, colour in (("precision", "|", ORANGE), ("recall", "o", BLUE)):
        filled = {"markersize": 11, "markeredgewidth": 2.2} if marker == "|" else {"markersize": 5}
        axes.plot([scores[name][i] for i in shown], places, linestyle="", marker=marker, color=colour, label=name, **filled)
    for place, i in enumerate(shown):
        axes.text(1.02, place, f"{scores['support'][i]:,.0f}", fontsize=9.5, color=GREY, va="center", clip_on=False)
    axes.text(1.02, -0.95, "samples", fontsize=9.5, color=GREY, va="center")
    axes.set_yticks(places, [short(classes[i], 24) for i in shown])
    axes.set(xlim=(0, 1.005), ylim=(len(shown) - 0.45, -0.55))
    axes.grid(visible=False, axis="y")
    handles: Any = {"loc": "lower right", "bbox_to_anchor": (0.98, 1.0), "ncols": 3}
    axes.legend(frameon=False, fontsize=10, labelcolor=INK, borderaxespad=0.2, **handles)
    return save(figure, path)
