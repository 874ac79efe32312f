"""Where a network looks: the strength of its last feature map over each image, as a picture.

The strength is the norm over the channels, as in Zagoruyko and Komodakis, Paying more attention to attention, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from config import Config
from data import Splits, build_prepare, make_data_loader
from data.dataset import Part
from data.randomness import ORDER, generator
from engine.analysis.pictures import GREY, INK, save, short, small
from engine.task import Task
from utils.errors import UserError

COLOURS = "inferno"  # from dark to light, for the colour-blind too
COVER = 0.65  # how far the colours hide the image below them
# lengths, where the width of an image is 1: between images, between samples, the words below, the margins
GAP, APART, LINE, MARGIN, TOP, BAR = 0.06, 0.4, 0.42, 0.25, 1.15, 0.6
COLUMNS = ("image", "strength", "both")


class Seen(NamedTuple):
    """What is drawn of a sample.

    Attributes:
        image: H x W x 3 uint8, as the network gets it before it is normalised.
        strength: H x W, 0 (least of this image) to 1 (most).
        name, file: of whom it is, and its file.
    """

    image: Tensor
    strength: Tensor
    name: str
    file: str


def last_map(model: nn.Module, image: Tensor) -> tuple[str, Tensor]:
    """The name of the last module that gives a B x C x H x W tensor with H and W above 1, and what it gave for `image`.

    Raises:
        UserError: there is none.
    """
    found: list[tuple[str, Tensor]] = []

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            handed_on = bool(found) and found[0][1] is output  # by a module that did not make it
            if not handed_on and isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
                found[:] = [(name, output)]

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            model.eval()(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise UserError(
            "no module of this model gives a map of features (B x C x H x W, H and W above 1), so none can be drawn"
        )
    return found[0]


def strength(features: Tensor, size: Sequence[int]) -> Tensor:
    """B x C x h x w -> B x H x W: the norm over the channels, enlarged to `size`, from 0 to 1 within each image."""
    norm = functional.interpolate(features.float().norm(dim=1, keepdim=True), size=tuple(size), mode="bilinear")[:, 0]
    least, most = norm.amin(dim=(1, 2), keepdim=True), norm.amax(dim=(1, 2), keepdim=True)
    span = most - least
    return ((norm - least) / span).where(span > 1e-5 * most, 0.0)  # below that there is only rounding


def look(cfg: Config, task: Task, splits: Splits, split: str, device: torch.device, count: int) -> tuple[str, list[Seen]]:
    """Some drawn samples of a split, in the order of the data, and a line on the map that was taken of them."""
    whole = splits.get(split)
    if whole is None or len(whole) == 0:
        raise UserError(f"there is no {split} split to look at; take --split train")
    chosen = sorted(generator(0, ORDER, 0).permutation(len(whole))[:count].tolist())
    part = Part(whole, chosen)
    loader = make_data_loader(cfg, "test", Splits(splits.train, None, part), train=False)
    loader.set_position(0, 0)
    prepare, seen, where = build_prepare(cfg, splits, device), [], ""
    for batch in loader:
        if batch["image"].ndim != 4:
            raise UserError(f"the samples of {whole.name} are no images, so there is nothing to look at")
        name, features = last_map(task.model, prepare(batch)["image"])
        where = f"{name}: {' x '.join(map(str, features.shape[1:]))}"
        maps = strength(features.cpu(), batch["image"].shape[-2:])
        for image, values, number in zip(batch["image"], maps, batch["index"].tolist(), strict=True):
            seen.append(Seen(small(image), values, _name(splits, part, number), Path(part.path(number)).stem))
    return where, seen


def _name(splits: Splits, part: Part, number: int) -> str:
    target = part.targets[number]
    if not part.open_set:
        return splits.text_of(target)
    return part.classes[target] if target >= 0 else "nobody"


def draw_activations(seen: Sequence[Seen], title: str, below: str, path: Path) -> Path:
    """Of each sample the image, the strength, and the strength laid over the image in grey.

    Args:
        title, below: one line each above all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import
    from matplotlib.figure import Figure

    tall = min(max(seen[0].image.shape[0] / seen[0].image.shape[1], 0.5), 2.5)
    columns = min(len(seen), 3 if tall > 0.7 else 2)
    rows = -(-len(seen) // columns)
    wide = 3 + 2 * GAP
    width, height = columns * wide + (columns - 1) * APART + 2 * MARGIN, TOP + rows * (tall + LINE) + BAR
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    axes.text(MARGIN, 0.38, title, fontsize=15, color=INK, fontweight="bold")
    axes.text(MARGIN, 0.66, below, fontsize=10, color=GREY)
    for number, sample in enumerate(seen):
        left, top = MARGIN + number % columns * (wide + APART), TOP + number // columns * (tall + LINE)
        grey = sample.image.float().mean(dim=2)
        for place, (pixels, over) in enumerate(((sample.image, 0.0), (None, 1.0), (grey, COVER))):
            start = left + place * (1 + GAP)
            box: dict[str, Any] = {"extent": (start, start + 1, top + tall, top), "aspect": "auto"}
            if pixels is not None:
                axes.imshow(pixels.numpy(), cmap="gray", vmin=0, vmax=255, interpolation="antialiased", **box)
            if over:
                axes.imshow(sample.strength.numpy(), cmap=COLOURS, vmin=0, vmax=1, alpha=over, interpolation="bilinear", **box)
            axes.add_patch(_border(start, top, tall))
            if number < columns:
                axes.text(start + 0.5, top - 0.09, COLUMNS[place], fontsize=8.5, color=GREY, ha="center")
        axes.text(left, top + tall + 0.06, short(sample.name, 34), fontsize=9, color=INK, va="top")
        axes.text(left + wide, top + tall + 0.06, short(sample.file, 24), fontsize=8, color=GREY, va="top", ha="right")
    _scale(axes, height)
    return save(figure, path)


def _border(left: float, top: float, tall: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), 1, tall, fill=False, edgecolor="#bbbbbb", linewidth=0.6)


def _scale(axes: Any, height: float) -> None:
    """What the colours mean, below all."""
    middle, size = height - 0.4, 2.2
    ramp = torch.linspace(0, 1, 256)[None].numpy()
    left = MARGIN + 0.42
    axes.imshow(ramp, cmap=COLOURS, extent=(left, left + size, middle + 0.07, middle - 0.07), aspect="auto")
    axes.text(MARGIN, middle, "least", fontsize=9, color=INK, va="center")
    axes.text(left + size + 0.08, middle, "most, within each image", fontsize=9, color=INK, va="center")
