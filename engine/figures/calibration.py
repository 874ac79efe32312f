"""Whether a model is as often right as it is sure: reliability diagram and expected calibration error.

Guo et al., On calibration of modern neural networks, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy

from engine.figures.pictures import BLUE, GREY, INK, ORANGE, literal, new_figure, save, style

BINS = 15


class Calibration(NamedTuple):
    """Predictions parted by their confidence into bins of equal width; bins without a sample are left out.

    Attributes:
        ece: expected calibration error: the mean gap between confidence and accuracy of the bins, by their samples.
        confidence, accuracy: means of each bin, fractions.
        samples: of each bin.
    """

    ece: float
    confidence: list[float]
    accuracy: list[float]
    samples: list[int]


def calibrate(confidence: Sequence[float], right: Sequence[bool], bins: int = BINS) -> Calibration:
    """Of N predictions, each with its confidence (0 to 1) and whether it was right."""
    sure, hit = numpy.asarray(confidence, dtype=float), numpy.asarray(right, dtype=float)
    sure, hit = sure[numpy.isfinite(sure)], hit[numpy.isfinite(sure)]
    place = numpy.clip(numpy.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    samples = numpy.bincount(place, minlength=bins)
    some = samples > 0
    mean = [numpy.bincount(place, values, bins)[some] / samples[some] for values in (sure, hit)]
    gaps = numpy.abs(mean[0] - mean[1])
    ece = float((gaps * samples[some]).sum() / max(samples.sum(), 1))
    return Calibration(ece, mean[0].tolist(), mean[1].tolist(), samples[some].tolist())


def draw_calibration(found: Calibration, title: str, path: Path) -> Path:
    """Accuracy over confidence, with the diagonal of perfect calibration; below it how many samples each bin has."""
    figure = new_figure(5.6, 5.9)
    grid = figure.add_gridspec(2, 1, height_ratios=(4, 1), left=0.125, right=0.97, top=0.87, bottom=0.09, hspace=0.1)
    figure.text(0.03, 0.955, literal(title), fontsize=13, fontweight="bold", color=INK, va="center")
    total, hits = sum(found.samples), sum(a * n for a, n in zip(found.accuracy, found.samples, strict=True))
    sure = sum(c * n for c, n in zip(found.confidence, found.samples, strict=True)) / max(total, 1)
    said = f"expected calibration error {found.ece:.4f}; sure {sure:.3f}, right {hits / max(total, 1):.3f}"
    figure.text(0.03, 0.91, said, fontsize=10, color=GREY, va="center")
    axes = style(figure.add_subplot(grid[0]), "", "", "share that is right")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="as sure as right")
    axes.vlines(found.confidence, found.accuracy, found.confidence, color=ORANGE, alpha=0.5, linewidth=5, label="gap")
    axes.plot(found.confidence, found.accuracy, color=BLUE, linewidth=2, marker="o", markersize=5, label="this model")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.03))
    axes.tick_params(labelbottom=False)
    axes.legend(frameon=False, fontsize=10.5, labelcolor=INK, loc="upper left")
    below = style(figure.add_subplot(grid[1], sharex=axes), "", "confidence", "samples")
    below.bar(found.confidence, found.samples, width=0.8 / BINS, color=BLUE, alpha=0.35)
    below.set_yscale("log")
    below.yaxis.set_major_formatter("{x:,g}")
    below.yaxis.set_minor_formatter("")
    below.tick_params(labelsize=9.5)
    return save(figure, path)
