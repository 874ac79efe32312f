"""The curves of a run as a page draws them: at most 500 points each, no extreme lost."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracking.record import read_metrics

POINTS = 500  # of one curve
KNOTS = 100  # between which the page interpolates the time of a step
_AXES = frozenset({"step", "epoch", "time"})
Point = tuple[float, float | None]


def read_curves(path: Path) -> dict[str, Any]:
    """All curves of the run in `path`.

    Returns:
        `curves` {metric: [which of `steps`, [value or None, ...]]} (None, a gap, where the value is no finite number),
        `steps` [[step, ...], ...], which metrics logged together share, and `time` [[step, ...], [seconds, ...]].
    """
    columns: dict[str, tuple[list[Any], list[Any]]] = {}
    clock: list[Point] = []
    for row in _rows(path / "metrics.jsonl"):
        step: Any = row.get("step")
        if not _is_finite(step):
            continue
        clock.append((step, row.get("time")))
        for name, value in row.items():
            if name in columns:
                at, values = columns[name]
                at.append(step)
                values.append(value)
            elif name not in _AXES:
                columns[name] = ([step], [value])
    steps: list[list[float]] = []
    where: dict[tuple[float, ...], int] = {}
    curves: dict[str, list[Any]] = {}
    for name, (at, values) in columns.items():
        found = _numbers(values)
        if all(value is None for value in found) and any(value is not None for value in values):
            continue  # texts and lists
        if len(at) > POINTS:
            kept = downsample(list(zip(at, found, strict=True)))
            at, found = [step for step, _ in kept], [value for _, value in kept]
        key = tuple(at)
        if key not in where:
            where[key] = len(steps)
            steps.append(list(map(_short, at)))
        curves[name] = [where[key], [None if value is None else _short(value) for value in found]]
    return {"curves": curves, "steps": steps, "time": _knots(clock)}


def downsample(points: Sequence[Point], limit: int = POINTS) -> list[Point]:
    """At most `limit` of the points, in their order: of each stretch its lowest and its highest, and a gap where it has one.

    First and last point are kept. A spike of a single step stays visible, which averages and strides lose.
    """
    if len(points) <= limit:
        return list(points)
    inner = len(points) - 2
    stretches = (limit - 2) // 3
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


def _knots(clock: list[Point]) -> list[list[float]]:
    times = _numbers([seconds for _, seconds in clock])
    known = [(step, seconds) for (step, _), seconds in zip(clock, times, strict=True) if seconds is not None]
    stride = max(1, math.ceil(len(known) / KNOTS))
    chosen = known[::stride] + known[-1:] if stride > 1 else known
    return [[_short(step) for step, _ in chosen], [_short(seconds) for _, seconds in chosen]]


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
