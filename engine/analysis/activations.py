"""Where a network looks: the strength of its last feature map over each image, as a picture.

Of a classifier it is what speaks for the predicted class (Grad-CAM), else how large the features are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from config import Config
from data import Splits, build_prepare, make_data_loader
from data.dataset import Part
from data.randomness import ORDER, generator
from engine.analysis.feature_maps import grad_cam, last_map, strength
from engine.figures.pictures import GREY, INK, frame, literal, new_canvas, save, short, small
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


class Looked(NamedTuple):
    """Some samples of a split.

    Attributes:
        method: what the strength is, in words.
        where: the map's module and its shape, "features.7: 64 x 7 x 7".
    """

    method: str
    where: str
    seen: list[Seen]


def look(cfg: Config, task: Task, splits: Splits, split: str, device: torch.device, count: int, *, classifies: bool) -> Looked:
    """Some drawn samples of a split, in the order of the data.

    Args:
        classifies: whether the model gives logits B x C of classes; then Grad-CAM.

    Raises:
        UserError: there is no such split, its samples are no images, or the model has no map of features.
    """
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
        image = prepare(batch)["image"]
        if classifies:
            name, shape, maps, predicted = grad_cam(task.model, image)
        else:
            name, features, _ = last_map(task.model, image)
            shape, maps, predicted = features.shape[1:], strength(features, batch["image"].shape[-2:]), None
        where = f"{name}: {' x '.join(map(str, shape))}"
        for place, number in enumerate(batch["index"].tolist()):
            named = _name(splits, part, number)
            if predicted is not None:
                said = splits.text_of(int(predicted[place]))
                named = f"{named}, rightly seen" if said == named else f"{named}, taken for {said}"
            seen.append(Seen(small(batch["image"][place]), maps[place].cpu(), named, Path(part.path(number)).stem))
    method = "what speaks for the predicted class (Grad-CAM)" if classifies else "norm over the channels"
    return Looked(method, where, seen)


def _name(splits: Splits, part: Part, number: int) -> str:
    target = part.targets[number]
    if not part.open_set:
        return splits.text_of(target)
    return part.classes[target] if target >= 0 else "nobody"


def draw_activations(looked: Looked, title: str, weights: str, path: Path) -> Path:
    """Of each sample the image, the strength, and the strength laid over the image in grey.

    Args:
        title: one line above all.
        weights: the name of their file, or "".
    """
    seen, below = looked.seen, ", ".join(text for text in (looked.method, looked.where, weights) if text)
    tall = min(max(seen[0].image.shape[0] / seen[0].image.shape[1], 0.5), 2.5)
    columns = min(len(seen), 3 if tall > 0.7 else 2)
    rows = -(-len(seen) // columns)
    wide = 3 + 2 * GAP
    width, height = columns * wide + (columns - 1) * APART + 2 * MARGIN, TOP + rows * (tall + LINE) + BAR
    figure, axes = new_canvas(width, height)
    axes.text(MARGIN, 0.38, literal(title), fontsize=15, color=INK, fontweight="bold")
    axes.text(MARGIN, 0.66, literal(below), fontsize=10, color=GREY)
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
            frame(axes, (start, top, 1, tall), "#bbbbbb", 0.6)
            if number < columns:
                axes.text(start + 0.5, top - 0.09, COLUMNS[place], fontsize=8.5, color=GREY, ha="center")
        axes.text(left, top + tall + 0.06, short(sample.name, 34), fontsize=9, color=INK, va="top")
        axes.text(left + wide, top + tall + 0.06, short(sample.file, 24), fontsize=8, color=GREY, va="top", ha="right")
    _scale(axes, height)
    return save(figure, path)


def _scale(axes: Any, height: float) -> None:
    """What the colours mean, below all."""
    middle, size = height - 0.4, 2.2
    ramp = torch.linspace(0, 1, 256)[None].numpy()
    left = MARGIN + 0.42
    axes.imshow(ramp, cmap=COLOURS, extent=(left, left + size, middle + 0.07, middle - 0.07), aspect="auto")
    axes.text(MARGIN, middle, "least", fontsize=9, color=INK, va="center")
    axes.text(left + size + 0.08, middle, "most, within each image", fontsize=9, color=INK, va="center")
