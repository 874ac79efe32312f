"""The curves of a run as a page draws them: at most 500 points each, no extreme lost, and the means to smooth and pool."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracking.record import read_metrics

POINTS = 500  # of one curve
STRETCHES = 250  # of a longer curve, of each of which the mean is told
KNOTS = 100  # between which the page interpolates the time, and the epoch, of a step
_AXES = frozenset({"step", "epoch", "time"})
Point = tuple[float, float | None]


def read_curves(path: Path) -> dict[str, Any]:
    """All curves of the run in `path`.

    Returns:
        `curves` {metric: [which of `steps`, [value or None, ...]]} (None, a gap, where the value is no finite number), which
        goes on for a curve of more than `POINTS` values with what `means` gives, its steps as one of `steps`; `steps`
        [[step, ...], ...], which metrics logged together share; `time` [[step, ...], [seconds, ...]]; `epoch` [[step, ...],
        [epochs trained by then, ...]], empty where no row tells where an epoch ended.
    """
    rows = [row for row in _rows(path / "metrics.jsonl") if _is_finite(row.get("step"))]
    clock = [(row["step"], row.get("time")) for row in rows]
    ends = [(row["step"], row.get("epoch")) for row in rows if not any(name.startswith("train/") for name in row)]
    steps: dict[tuple[float, ...], int] = {}  # steps that metrics share -> which of all these they are

    def place(at: Sequence[float]) -> int:
        return steps.setdefault(tuple(at), len(steps))

    curves: dict[str, list[Any]] = {}
    for name, (at, values) in _columns(rows).items():
        found = _numbers(values)
        if all(value is None for value in found) and any(value is not None for value in values):
            continue  # texts and lists
        rest: list[Any] = []
        if len(at) > POINTS:
            points = list(zip(at, found, strict=True))
            width, middles, averages, counts = means(points)
            rest = [width, place(middles), averages, counts]
            at, found = map(list, zip(*downsample(points), strict=True))
        curves[name] = [place(list(map(_short, at))), [None if value is None else _short(value) for value in found], *rest]
    axes = {"time": _knots(clock), "epoch": _knots(_rising(ends, clock))}
    return {"curves": curves, "steps": [list(at) for at in steps], **axes}


def means(points: Sequence[Point]) -> tuple[float, list[float], list[float | None], list[int]]:
    """The means of the stretches of a curve, for smoothing and pooling: what `downsample` keeps is no fair sample.

    Stretches are equally wide, by a power of two, and begin at multiples of their width: those of repeats are the same, or,
    where one run is longer, several together are one of the other's.

    Returns:
        the width in steps, and of each stretch its middle, the mean of its finite values (None: it has none), their number.
    """
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    width = 2.0 ** math.ceil(math.log2((last - first) / STRETCHES)) if last > first else 1.0
    found: dict[int, tuple[float, int]] = {}
    for step, value in points:
        number = math.floor(step / width)
        mean, count = found.get(number, (0.0, 0))
        found[number] = (mean, count) if value is None else (mean + (value - mean) / (count + 1), count + 1)
    order = sorted(found)
    middles = [min(max((number + 0.5) * width, first), last) for number in order]
    averages = [_short(found[n][0]) if found[n][1] and math.isfinite(found[n][0]) else None for n in order]
    return width, middles, averages, [found[n][1] for n in order]


def downsample(points: Sequence[Point]) -> list[Point]:
    """At most POINTS of the points, in their order: of each stretch its lowest and its highest, and a gap where it has one.

    First and last point are kept. A spike of a single step stays visible, which averages and strides lose.
    """
    if len(points) <= POINTS:
        return list(points)
    inner = len(points) - 2
    stretches = (POINTS - 2) // 3
    kept = {0, len(points) - 1}
    for number in range(stretches):
        part = range(1 + number * inner // stretches, 1 + (number + 1) * inner // stretches)
        finite = [i for i in part if points[i][1] is not None]
        if finite:
            kept |= {min(finite, key=lambda i: points[i][1] or 0.0), max(finite, key=lambda i: points[i][1] or 0.0)}
        if len(finite) < len(part):
            kept.add(next(i for i in part if points[i][1] is None))
    return [points[i] for i in sorted(kept)]


def _rows(file: Path) -> list[dict[str, Any]]:
    """As `read_metrics`, but all lines at once where they are whole: a third of the time."""
    try:
        rows = json.loads(b"[" + b",".join(file.read_bytes().split(b"\n")[:-1]) + b"]")
    except (OSError, ValueError, RecursionError):
        return read_metrics(file)
    return [row for row in rows if isinstance(row, dict)]


def _columns(rows: list[dict[str, Any]]) -> dict[str, tuple[list[Any], list[Any]]]:
    """metric -> (steps, values)."""
    columns: dict[str, tuple[list[Any], list[Any]]] = {}
    for row in rows:
        for name, value in row.items():
            if name in columns:
                at, values = columns[name]
                at.append(row["step"])
                values.append(value)
            elif name not in _AXES:
                columns[name] = ([row["step"]], [value])
    return columns


def _knots(clock: list[Point]) -> list[list[float]]:
    times = _numbers([seconds for _, seconds in clock])
    known = [(step, seconds) for (step, _), seconds in zip(clock, times, strict=True) if seconds is not None]
    stride = max(1, math.ceil(len(known) / KNOTS))
    chosen = known[::stride] + known[-1:] if stride > 1 else known
    return [[_short(step) for step, _ in chosen], [_short(seconds) for _, seconds in chosen]]


def _rising(ends: list[tuple[float, Any]], clock: list[Point]) -> list[Point]:
    """(step, epochs trained by then): from the beginning, over each end of an epoch that a row tells, to the newest step.

    Rows of training hold the number of the epoch that goes on, at whichever of its steps; the others, written after an
    epoch's end, count that epoch.
    """
    found: list[tuple[float, float]] = [(0, 0)]
    for step, epoch in ends:
        if _is_finite(epoch) and step > found[-1][0] and epoch > found[-1][1]:
            found.append((step, epoch))
    if len(found) < 2:
        return []
    (before, start), (step, epoch) = found[-2:]
    newest = max(at for at, _ in clock)
    if newest > step:  # goes on as it went before
        found.append((newest, min(epoch + 1, epoch + (newest - step) * (epoch - start) / (step - before))))
    return [*found]


def _numbers(values: list[Any]) -> list[float | None]:
    """The values, None in place of each that is no number, is infinite or is too large for a float."""
    try:
        if all(map(math.isfinite, values)):
            return values
    except (TypeError, OverflowError):
        pass
    return [value if _is_finite(value) else None for value in values]


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def _short(value: float) -> float:
    """Six digits, which is more than a screen shows; whole numbers as they are."""
    return value if isinstance(value, int) else float(f"{value:.6g}")
