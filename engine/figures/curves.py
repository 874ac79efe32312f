"""Learning curves: losses, scores and the learning rate over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.figures.pictures import BLUE, GREEN, GREY, INK, ORANGE, SKY, new_figure, save, short, style

SMOOTH_FROM = 60  # points from which on a curve is drawn pale, and its moving average over it
SCORES_DRAWN = 4
Curve = tuple[list[int], list[float]]


def read_curve(rows: Sequence[Mapping[str, Any]], name: str) -> Curve:
    """(steps, values) of what metrics.jsonl has under `name`; NaN, which leaves a gap, where it was not finite."""
    points = [(row["step"], row[name]) for row in rows if name in row and isinstance(row.get("step"), int)]
    return [step for step, _ in points], [math.nan if v is None else float(v) for _, v in points]


def smoothed(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """The exponential moving average, without the pull towards zero at the start; NaN is passed over."""
    total = share = 0.0
    found = []
    for value in values:
        if not math.isnan(value):
            total, share = weight * total + (1 - weight) * value, weight * share + 1 - weight
        found.append(total / share if share and not math.isnan(value) else math.nan)
    return found


def draw_curves(
    rows: Sequence[Mapping[str, Any]], title: str, path: Path, *, primary: str = "", lower_is_better: bool = False
) -> Path | None:
    """Losses on the left, scores of the validation on the right, the learning rate below both; None without a loss.

    Args:
        rows: of metrics.jsonl.
        primary: the score that selects, `val/top1`; its best value is marked.
    """
    losses = {name: read_curve(rows, name) for name in ("train/loss", "val/loss")}
    losses = {name: curve for name, curve in losses.items() if curve[0]}
    if not losses:
        return None
    names = list(dict.fromkeys(n for row in rows for n in row if n.startswith("val/") and n != "val/loss"))
    names.sort(key=lambda name: name != primary)
    scores = {name: read_curve(rows, name) for name in names[:SCORES_DRAWN]}
    figure = new_figure(11 if scores else 6.5, 5)
    grid = figure.add_gridspec(
        2, 2 if scores else 1, height_ratios=(5, 1), left=0.075 if scores else 0.12, right=0.985, top=0.86, bottom=0.1,
        hspace=0.16, wspace=0.16,
    )  # fmt: skip
    figure.text(0.012, 0.955, short(title, 100), fontsize=14, fontweight="bold", color=INK, va="center")
    left = style(figure.add_subplot(grid[0, 0]), "loss", "", "")
    for (name, curve), colour in zip(losses.items(), (BLUE, ORANGE), strict=False):
        _line(left, curve, name, colour)
    values = [v for _, ys in losses.values() for v in ys if v > 0]
    if values and max(values) > 30 * min(values):
        left.set_yscale("log")
        left.yaxis.set_major_formatter("{x:g}")
        left.yaxis.set_minor_formatter("")
    _legend(left)
    if scores:
        right = style(figure.add_subplot(grid[0, 1], sharex=left), "score", "", "")
        for (name, curve), colour in zip(scores.items(), (BLUE, ORANGE, GREEN, SKY), strict=False):
            _line(right, curve, name, colour, thick=name == primary)
        if primary in scores:
            _mark_best(right, scores[primary], lower_is_better)
        _legend(right)
    for column in range(2 if scores else 1):
        _rate(figure.add_subplot(grid[1, column], sharex=left), read_curve(rows, "lr"))
    for axes in figure.axes[: 2 if scores else 1]:
        axes.tick_params(labelbottom=False)
    return save(figure, path)


def _line(axes: Any, curve: Curve, name: str, colour: str, thick: bool = False) -> None:
    steps, values = curve
    marker = "o" if sum(not math.isnan(value) for value in values) == 1 else None
    width = 2.4 if thick else 1.8
    if len(values) >= SMOOTH_FROM:
        axes.plot(steps, values, color=colour, linewidth=1, alpha=0.25)
        values = smoothed(values)
    axes.plot(steps, values, color=colour, linewidth=width, label=short(name, 28), marker=marker)


def _mark_best(axes: Any, curve: Curve, lower_is_better: bool) -> None:
    """A ring around the first best value, with its number."""
    finite = [(value, step) for step, value in zip(*curve, strict=True) if not math.isnan(value)]
    if finite:
        value, step = min(finite) if lower_is_better else max(finite, key=lambda point: (point[0], -point[1]))
        axes.plot([step], [value], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.4)
        axes.set_title(f"best {value:.4f} at step {step}", loc="right", fontsize=11, color=INK, pad=12)


def _rate(axes: Any, curve: Curve) -> None:
    """The learning rate: a strip below a panel, with the greatest value as its only label."""
    style(axes, "", "step", "")
    axes.plot(*curve, color=GREY, linewidth=1.4)
    axes.fill_between(*curve, color=GREY, alpha=0.15, linewidth=0)
    highest = max((value for value in curve[1] if math.isfinite(value)), default=0.0)
    if highest > 0:
        axes.set_ylim(0, highest * 1.15)
        axes.set_yticks([highest], [f"lr {highest:.3g}"], fontsize=9.5)


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, fontsize=11, labelcolor=INK, handlelength=1.4)
