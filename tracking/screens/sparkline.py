"""A curve in one line of a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """Means of up to `width` stretches of the values as bars from the least to the greatest; a stretch without a finite value
    is a gap. Empty for fewer than two values."""
    if len(values) < 2:
        return ""
    count = min(width, len(values))
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [_mean(values[start:end]) for start, end in zip(edges, edges[1:], strict=False)]
    finite = [mean for mean in means if mean is not None]
    if not finite:
        return ""
    least, span = min(finite), max(finite) - min(finite)
    top = len(BARS) - 1
    return "".join(" " if m is None else BARS[round((m - least) / span * top) if span else 0] for m in means)


def _mean(values: Sequence[float | None]) -> float | None:
    finite = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None
