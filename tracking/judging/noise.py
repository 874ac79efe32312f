"""Is it more than noise? Mean, spread, t intervals of repeats, intervals of shares, without the seconds of importing scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95  # of every interval


@dataclass(frozen=True)
class Spread:
    """Repeats of one experiment.

    Attributes:
        std: sample standard deviation (n - 1), None for a single value.
        interval: of the mean, None for a single value.
    """

    n: int
    mean: float
    std: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Difference:
    """Mean of one group minus mean of another, with its interval (None where the repeats do not tell the noise)."""

    value: float
    interval: tuple[float, float] | None
    assumed: bool  # only one of the two has repeats: its spread was taken for both

    @property
    def is_noise(self) -> bool | None:
        """Whether zero lies in the interval; None where nothing can be said."""
        return None if self.interval is None else self.interval[0] <= 0.0 <= self.interval[1]


def spread(values: Sequence[float]) -> Spread:
    """n, mean, sample standard deviation and 95 % interval of at least one value."""
    assert values
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return Spread(1, mean, None, None)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    half = t_quantile(0.5 + LEVEL / 2, len(values) - 1) * std / math.sqrt(len(values))
    return Spread(len(values), mean, std, (mean - half, mean + half))


def difference(a: Spread, b: Spread) -> Difference:
    """a - b by Welch's t-test (Welch 1947): the groups may differ in size and spread.

    Where only one has repeats, its standard deviation stands for both: an honest guess, marked as assumed. Repeats that
    do not differ at all (a small test set) say nothing of the noise: there is no interval.
    """
    value = a.mean - b.mean
    if a.std is not None and b.std is not None:
        parts = (a.std**2 / a.n, b.std**2 / b.n)
        error = math.sqrt(sum(parts))
        if error == 0.0:
            return Difference(value, None, False)
        freedom = sum(parts) ** 2 / sum(p**2 / (s.n - 1) for p, s in zip(parts, (a, b), strict=True))
        half = t_quantile(0.5 + LEVEL / 2, freedom) * error
        return Difference(value, (value - half, value + half), False)
    known = a if a.std is not None else b
    if not known.std:
        return Difference(value, None, False)
    half = t_quantile(0.5 + LEVEL / 2, known.n - 1) * known.std * math.sqrt(1 / a.n + 1 / b.n)
    return Difference(value, (value - half, value + half), True)


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` samples (Wilson, 1927), which keeps within 0 to 1."""
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def t_quantile(p: float, freedom: float) -> float:
    """The value below which a Student t variable with `freedom` degrees stays with probability `p` (0.5 <= p < 1)."""
    assert 0.5 <= p < 1.0 and freedom > 0
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < p:
        low, high = high, high * 2.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_probability(middle, freedom) < p else (low, middle)
    return (low + high) / 2


def t_probability(t: float, freedom: float) -> float:
    """P(T <= t) for t >= 0, by the regularised incomplete beta function."""
    return 1.0 - 0.5 * _beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def _beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b) by Lentz's continued fraction (Press et al., Numerical Recipes 6.4)."""
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):  # where the fraction converges quickly
        return 1.0 - _beta(1.0 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    c, d = 1.0, 1.0 / ((1.0 - (a + b) * x / (a + 1)) or tiny)
    value = d
    for m in range(1, 500):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / ((1.0 + step * d) or tiny)
            c = (1.0 + step / c) or tiny
            value *= d * c
        if abs(d * c - 1.0) < 1e-15:
            break
    return front * value
