"""The learning-rate range test (Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy

from engine.analysis.borrow import borrowed, step_losses, windows
from engine.figures.pictures import BLUE, GREY, INK, ORANGE, new_axes, save
from engine.trainer import Trainer
from utils.errors import UserError

EXPLODED = 4.0  # times the least smoothed loss
FEWEST = 10  # steps that a suggestion needs


@dataclass(frozen=True)
class RangeTest:
    """What the test saw.

    Attributes:
        rates, losses: one of each for every step; the last loss may be NaN.
        smoothed: losses, averaged over neighbours on both sides.
        suggestion: the rate at which the smoothed loss falls fastest.
        lowest: the rate of the least smoothed loss: beyond it, training gets worse.
        exploded: whether the loss exploded before the last step.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float
    lowest: float
    exploded: bool


def range_test(trainer: Trainer, *, steps: int = 150, low: float = 1e-6, high: float = 10.0) -> RangeTest:
    """Trains with a rate that rises exponentially from `low` to `high`, until the loss explodes; then puts all back.

    Raises:
        UserError: there are too few steps to judge, or the loss exploded or was not finite before there were enough.
    """
    if steps < FEWEST:
        raise UserError(f"lr-find: {steps} steps are too few for a suggestion, which needs {FEWEST}; try --steps 50 or more")
    rates: list[float] = []
    losses: list[float] = []
    running, best = 0.0, math.inf
    with borrowed(trainer):
        for step, window in zip(range(steps), windows(trainer), strict=False):
            rates.append(low * (high / low) ** (step / max(steps - 1, 1)))
            losses.append(step_losses(trainer, window, rates[-1]).get("loss", 0.0))
            running = 0.9 * running + 0.1 * losses[-1]
            average = running / (1 - 0.9 ** (step + 1))
            best = min(best, average)
            if not math.isfinite(average) or average > EXPLODED * abs(best) and step > FEWEST:
                break
    if len(losses) < FEWEST or not math.isfinite(losses[min(FEWEST, len(losses) - 1)]):
        raise UserError(
            f"lr-find: the loss is not finite from step {len(losses)} on, at a rate of {rates[-1]:.2g} already; "
            "try --dry-run, and --steps 50 or more"
        )
    return _judge(rates, losses, exploded=len(losses) < steps)


def draw_range_test(test: RangeTest, path: Path, title: str) -> Path:
    """Loss over rate, the suggestion marked."""
    figure, axes = new_axes(title, "learning rate", "training loss")
    count = len(test.smoothed)
    axes.plot(test.rates[:count], test.losses[:count], ".", color=GREY, alpha=0.55, markersize=5, label="each step")
    axes.plot(test.rates[:count], test.smoothed, color=BLUE, linewidth=2.5, label="smoothed")
    axes.set_xscale("log")
    least, first = min(test.smoothed), test.smoothed[0]
    room = max(first - least, 1e-3 * max(abs(first), 1e-9))
    axes.set_ylim(least - 0.25 * room, max(first, least) + 0.6 * room)
    axes.axvline(test.suggestion, color=ORANGE, linewidth=2, linestyle="--")
    height = float(numpy.interp(math.log(test.suggestion), numpy.log(test.rates[:count]), test.smoothed))
    axes.plot([test.suggestion], [height], "o", color=ORANGE, markersize=10, markeredgecolor="white", zorder=5)
    axes.annotate(
        f"suggested {test.suggestion:.2g}",
        (test.suggestion, height),
        xytext=(-10, -16),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=12,
        color=ORANGE,
        fontweight="bold",
    )
    axes.legend(frameon=False, fontsize=11, labelcolor=INK, loc="upper left")
    return save(figure, path)


def _judge(rates: list[float], losses: list[float], exploded: bool) -> RangeTest:
    """Smooths, and looks for the steepest fall before the least loss."""
    finite = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    values = numpy.asarray(losses[:finite])
    smoothed = _smooth(values, width=max(len(values) / 30, 1.0))
    lowest = int(smoothed.argmin())
    slope = numpy.gradient(_smooth(values, width=max(len(values) / 20, 1.5)))
    steepest = int(slope[: max(lowest, 1)].argmin())
    return RangeTest(rates, losses, smoothed.tolist(), rates[steepest], rates[lowest], exploded)


def _smooth(values: numpy.ndarray, width: float) -> numpy.ndarray:
    """Gaussian averages over neighbours on both sides (`width` steps), so that nothing shifts along the axis."""
    places = numpy.arange(len(values))
    if len(values) >= 5:  # the median of five leaves out single steps that stand apart
        inner = numpy.median(numpy.lib.stride_tricks.sliding_window_view(values, 5), axis=1)
        values = numpy.concatenate([values[:2], inner, values[-2:]])
    weights = numpy.exp(-0.5 * ((places[:, None] - places[None]) / width) ** 2)
    return weights @ values / weights.sum(axis=1)
