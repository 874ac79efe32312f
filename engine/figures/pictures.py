"""One look for pictures: colours that the colour-blind tell apart (Okabe and Ito, 2008), letters that survive shrinking."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.cells import cell_len
from torch import Tensor
from torch.nn import functional

from utils.errors import UserError
from utils.files import temporary_beside

LOG = logging.getLogger("fieldbook.engine")
INK, GREY, BLUE, ORANGE, GREEN, SKY = "#222222", "#8a8a8a", "#0072B2", "#D55E00", "#009E73", "#56B4E9"
LINES = (BLUE, ORANGE, GREEN, SKY, INK)
EAST_ASIAN = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "Noto Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB", "SimHei", "Arial Unicode MS",
)  # fmt: skip
PIXELS = 160  # longest side of an image among others


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many inches, whose letters fall back to fonts that know Chinese, Japanese and Korean."""
    import matplotlib  # slow to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matplotlib.rcParams["font.family"] = _fonts()
    figure = Figure(figsize=(width, height), dpi=120)
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
    """matplotlib's own font, then what is installed of others, even since matplotlib wrote its list of fonts."""
    from matplotlib import font_manager

    logging.getLogger("matplotlib.font_manager").addFilter(_not_of_weight)
    manager = font_manager.fontManager
    if not any(font.name in EAST_ASIAN for font in manager.ttflist):
        for path in set(font_manager.findSystemFonts()) - {font.fname for font in manager.ttflist}:
            with suppress(Exception):  # no font that can be drawn with, as most of those left out
                manager.addfont(path)
    present = {font.name for font in manager.ttflist}
    return ["DejaVu Sans", *(name for name in EAST_ASIAN if name in present)]


def _not_of_weight(record: logging.LogRecord) -> bool:
    """A title's Chinese in a font that is never bold is no news."""
    return "Failed to find font weight" not in str(record.msg)


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
    """Writes the picture, whole or not at all, its folder made where it is missing.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    aside = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _boxes_told(path):
            figure.savefig(aside, format=path.suffix[1:].lower(), bbox_inches=_whole_titles(figure))
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise UserError(f"{path}: the picture cannot be written ({error.strerror or error})") from error
    return path


def _whole_titles(figure: Any) -> Any:
    """The figure's own inches, wider where a line of words would be cut at its right edge."""
    from matplotlib.transforms import Bbox

    texts = [*figure.texts, *(text for axes in figure.axes for text in (*axes.texts, axes._left_title))]
    ends = [text.get_window_extent().x1 / figure.dpi + 0.1 for text in texts if text.get_text()]
    width, height = figure.get_size_inches()
    return Bbox([[0, 0], [max([width, *ends]), height]])


@contextmanager
def _boxes_told(path: Path) -> Iterator[None]:
    """Within, of letters that no font has one warning is logged a run, where matplotlib would warn of each letter."""
    pattern = re.compile(r"Glyph (\d+) .*missing from")
    lacking: dict[str, None] = {}
    before = warnings.showwarning

    def take(message: Any, *rest: Any, **named: Any) -> None:
        found = pattern.match(str(message))
        if found:
            lacking[chr(int(found[1]))] = None
        else:
            before(message, *rest, **named)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=pattern.pattern)
        warnings.showwarning = take
        yield
    if lacking:
        _tell_boxes(path.name, "".join(lacking)[:20])


_BOXES_TOLD: list[str] = []  # the picture that was named


def _tell_boxes(name: str, letters: str) -> None:
    if not _BOXES_TOLD:
        _BOXES_TOLD.append(name)
        LOG.warning(
            "%s, and perhaps other pictures, shows boxes for %s: no font here has these letters; install one, such as Noto "
            "Sans CJK (Debian, Ubuntu: apt install fonts-noto-cjk)",
            name,
            letters,
        )


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
    """A name's end, which tells more than the folders before it, as one line. Chinese letters count as two of `most`."""
    line = " ".join(text.split())
    if cell_len(line) <= most:
        return line
    while cell_len(line) > most - 1:
        line = line[1:]
    return "\u2026" + line


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
