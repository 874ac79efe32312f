"""One look for pictures: colours that the colour-blind tell apart (Okabe and Ito, 2008), letters that survive shrinking."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LOG = logging.getLogger("fieldbook.engine")
INK, GREY, BLUE, ORANGE, GREEN, SKY = "#222222", "#8a8a8a", "#0072B2", "#D55E00", "#009E73", "#56B4E9"
LINES = (BLUE, ORANGE, GREEN, SKY, INK)
EAST_ASIAN = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC", "SimHei")
PIXELS = 160  # longest side of an image among others


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches, whose letters fall back to fonts that know Chinese, Japanese and Korean."""
    import matplotlib  # slow to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matplotlib.rcParams["font.family"] = _fonts()
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def new_canvas(width: float, height: float) -> tuple[Any, Any]:
    """An empty figure and axes over all of it, without ticks, in inches from its upper left corner."""
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


@cache
def _fonts() -> list[str]:
    """matplotlib's own font, then what is installed of others."""
    from matplotlib import font_manager

    present = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in EAST_ASIAN if name in present)]


def new_axes(title: str, xlabel: str, ylabel: str) -> tuple[Any, Any]:
    """A figure of 7 x 4 inches and its axes: no box, a pale grid, titles on the left."""
    figure = new_figure(7, 4)
    figure.set_layout_engine("constrained")
    return figure, style(figure.add_subplot(), title, xlabel, ylabel)


def style(axes: Any, title: str, xlabel: str, ylabel: str) -> Any:
    """The axes in the look of all pictures: no box, a pale grid, the title on the left."""
    axes.set_title(literal(title), loc="left", fontsize=13, color=INK, fontweight="bold", pad=12)
    axes.set_xlabel(xlabel, fontsize=12, color=INK)
    axes.set_ylabel(ylabel, fontsize=12, color=INK)
    axes.tick_params(labelsize=11, colors=INK)
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    return axes


def save(figure: Any, path: Path) -> Path:
    """Writes the picture, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a letter that no font has is a box
        figure.savefig(path, dpi=120)
    return path


def small(image: Tensor) -> Tensor:
    """C x H x W -> H x W x 3 uint8, shrunk where it is large."""
    floats = image.float()[None] / (255 if image.dtype == torch.uint8 else 1)
    factor = PIXELS / max(floats.shape[-2:])
    if factor < 1:
        size = [max(round(side * factor), 1) for side in floats.shape[-2:]]
        floats = functional.interpolate(floats, size=size, mode="bilinear", antialias=True)
    colours = floats[0, :3] if floats.shape[1] >= 3 else floats[0, :1].expand(3, -1, -1)
    return (colours.clamp(0, 1) * 255).round().byte().permute(1, 2, 0)


def place(axes: Any, image: Tensor, left: float, top: float, wide: float, tall: float) -> tuple[float, float, float, float]:
    """Draws H x W x 3 as large as fits into a cell, in its middle, at its foot; small images keep their pixels sharp.

    Returns:
        (left, top, width, height) of what was drawn.
    """
    shape = image.shape[0] / image.shape[1]
    width, height = (tall / shape, tall) if shape > tall / wide else (wide, wide * shape)
    left, top = left + (wide - width) / 2, top + tall - height
    kind = "nearest" if max(image.shape[:2]) <= 64 else "antialiased"
    axes.imshow(image.numpy(), extent=(left, left + width, top + height, top), interpolation=kind, aspect="auto")
    return left, top, width, height


def frame(axes: Any, box: tuple[float, float, float, float], colour: str, thick: float) -> None:
    """A line around (left, top, width, height)."""
    from matplotlib.patches import Rectangle

    left, top, width, height = box
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=colour, linewidth=thick))


def end_of(text: str, most: int) -> str:
    """A name's end, which tells more than the folders before it, as one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else "\u2026" + line[1 - most :]


def literal(text: str) -> str:
    """For matplotlib: not taken for a formula, without letters that are none (of file names that are not UTF-8)."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("$", r"\$")


def short(text: str, most: int) -> str:
    """`end_of`, for matplotlib."""
    return literal(end_of(text, most))


@contextmanager
def harmless(what: str) -> Iterator[None]:
    """Within, an error is a warning that `what` is missing: pictures are beside the point of a run, and none may end it."""
    try:
        yield
    except Exception as error:  # of matplotlib, of fonts, of a full disk: whatever it is, the training is worth more
        LOG.warning("%s could not be drawn (%s: %s); all else goes on", what, type(error).__name__, error)
