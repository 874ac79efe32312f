"""Three pictures of a sweep: the best score so far, what mattered, and the score over each key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.figures.pictures import BLUE, GREY, ORANGE, new_axes, new_figure, save, style
from engine.search.spec import Dimension
from engine.search.table import Result

COLUMNS = 3  # of slices
MOST = 9  # slices
FEW = 4  # values of a key that are all named


def draw(result: Result, dimensions: Sequence[Dimension], folder: Path) -> list[Path]:
    """Writes what there is something to draw for: needs two points with a score."""
    points = [point for point in result.points if point["state"] == "finished"]
    if len(points) < 2:
        return []
    drawn = [_history(result, points, folder / "history.png")]
    if len(result.importances) > 1:
        drawn.append(_importances(result, folder / "importances.png"))
    if dimensions:
        drawn.append(_slices(result, points, dimensions[:MOST], folder / "slices.png"))
    return drawn


def _history(result: Result, points: Sequence[dict[str, Any]], path: Path) -> Path:
    figure, axes = new_axes("The best so far", "point", result.metric)
    ordered = sorted(points, key=lambda point: point["point"])
    better = min if result.lower else max
    numbers = [point["point"] for point in ordered]
    means = [point["mean"] for point in ordered]
    axes.errorbar(numbers, means, yerr=_half_intervals(ordered), fmt="o", color=BLUE, ecolor=GREY, elinewidth=1, markersize=5)
    axes.step(numbers, [better(means[: n + 1]) for n in range(len(means))], where="post", color=ORANGE, linewidth=2)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return save(figure, path)


def _importances(result: Result, path: Path) -> Path:
    figure, axes = new_axes("What the score depends on", "share of its variance (fANOVA)", "")
    keys = list(result.importances)[::-1]
    axes.barh(keys, [result.importances[key] for key in keys], color=BLUE, height=0.6)
    axes.set_xlim(0, 1)
    return save(figure, path)


def _slices(result: Result, points: Sequence[dict[str, Any]], dimensions: Sequence[Dimension], path: Path) -> Path:
    """The score over each key, one panel a key."""
    columns = min(len(dimensions), COLUMNS)
    rows = -(-len(dimensions) // columns)
    figure = new_figure(4 * columns if columns > 1 else 7, 3.6 * rows)
    figure.set_layout_engine("constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    for number, (axes, dimension) in enumerate(zip(panels, dimensions, strict=False)):
        _slice(style(axes, "", dimension.key, result.metric if number % columns == 0 else ""), points, dimension)
    for axes in list(panels)[len(dimensions) :]:
        axes.set_visible(False)
    return save(figure, path)


def _slice(axes: Any, points: Sequence[dict[str, Any]], dimension: Dimension) -> None:
    values = [point["params"][dimension.key] for point in points]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if not numeric:
        names = [str(value) for value in dimension.values]
        values = [names.index(str(value)) for value in values]
        axes.set_xticks(range(len(names)), names)
    elif len(set(values)) <= FEW:
        axes.set_xticks(sorted(set(values)), [f"{value:.4g}" for value in sorted(set(values))])
    if numeric and min(values) > 0 and max(values) / min(values) >= 10:
        axes.set_xscale("log")
    means = [point["mean"] for point in points]
    axes.errorbar(values, means, yerr=_half_intervals(points), fmt="o", color=BLUE, ecolor=GREY, elinewidth=1, markersize=5)
    axes.plot(values[0], means[0], "o", color=ORANGE, markersize=8)  # the best stands first


def _half_intervals(points: Sequence[dict[str, Any]]) -> list[float] | None:
    """Half the 95 % interval of each mean; None where no point has one."""
    halves = [(point["interval"][1] - point["interval"][0]) / 2 if point["interval"] else 0.0 for point in points]
    return halves if any(halves) else None
