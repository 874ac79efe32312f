"""The factory of transforms: from names in a YAML to a list; and what the config says of sizes, channels and pixel values."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from config import Config
from data.dataset import Dataset
from data.transforms import TRANSFORMS
from data.transforms.adapter import TorchvisionTransform
from utils.errors import UserError
from utils.registry import nearest


def build_transforms(cfg: Config, train: Dataset, training: bool) -> list[Any]:
    """What an image goes through before it is normalised, in training or in an evaluation; `train` is the training data.

    Raises:
        UserError: as for `make_transforms`, or pixel values or channels that do not fit the data.
    """
    size, entries = asked_size(cfg, training), asked_transforms(cfg, training)
    defaults = {
        "size": size,
        "scale": (cfg.INPUT.MIN_SCALE_TRAIN, cfg.INPUT.MAX_SCALE_TRAIN),
        "prob": cfg.INPUT.PROB,
        "padding": cfg.INPUT.PADDING,
        "mean": _fill(pixel_statistics(cfg, train)[0], train.channels),
    }
    if not entries and size:
        arrays = train.arrays()
        entries = () if arrays is not None and tuple(arrays[0].shape[-2:]) == size else ("Resize",)
    return make_transforms(entries, defaults, f"INPUT.TRANSFORMS_{'TRAIN' if training else 'TEST'}")


def asked_transforms(cfg: Config, training: bool) -> Sequence[Any]:
    """The entries of INPUT.TRANSFORMS_TRAIN or TRANSFORMS_TEST."""
    entries: Sequence[Any] = cfg.INPUT.TRANSFORMS_TRAIN if training else cfg.INPUT.TRANSFORMS_TEST
    return entries


def asked_size(cfg: Config, training: bool) -> tuple[int, int] | tuple[()]:
    """(height, width) in pixels that the config asks for; () where it leaves them to the data."""
    size = cfg.INPUT.SIZE_TRAIN if training else cfg.INPUT.SIZE_TEST or cfg.INPUT.SIZE_TRAIN
    return () if not size or tuple(size) == (0,) else (size[0], size[-1])


def pixel_statistics(cfg: Config, train: Dataset) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of the pixels, INPUT.PIXEL_MEAN and PIXEL_STD or the data's own: fractions of full scale.

    Raises:
        UserError: their number fits no channels.
    """
    mean, std = cfg.INPUT.PIXEL_MEAN or train.mean, cfg.INPUT.PIXEL_STD or train.std
    for key, values in (("PIXEL_MEAN", mean), ("PIXEL_STD", std)):
        if len(values) not in (0, 1, train.channels, channels_seen(cfg, train)):
            raise UserError(f"INPUT.{key} has {len(values)} values, the images of {train.name} have {train.channels} channels")
    return mean, std


def channels_seen(cfg: Config, train: Dataset) -> int:
    """How many channels the model sees: the images' own, or 3 for grey ones where MODEL.IN_CHANNELS says so.

    Raises:
        UserError: MODEL.IN_CHANNELS is any other number.
    """
    wanted, channels = cfg.MODEL.IN_CHANNELS or train.channels, train.channels
    if wanted != channels and (wanted, channels) != (3, 1):
        hint = "leave it 0 to take theirs" + ", or 3 to repeat grey images" * (channels == 1)
        raise UserError(f"MODEL.IN_CHANNELS is {wanted}, the images of {train.name} have {channels}; {hint}")
    return int(wanted)


def _fill(mean: Sequence[float], channels: int) -> tuple[float, ...]:
    """The mean pixel of an image as it is stored: grey ones are repeated only after the transforms."""
    return tuple(mean) if len(mean) in (0, 1, channels) else (sum(mean) / len(mean),)


def make_transforms(entries: Sequence[Any], defaults: dict[str, Any], key: str) -> list[Any]:
    """Transforms in order.

    Args:
        entries: names, or one-entry mappings {name: {argument: value}}.
        defaults: arguments for whichever transform takes them and is not given them.
        key: the config key, for messages.

    Raises:
        UserError: an unknown name or argument, or one that is missing.
    """
    return [_make(entry, defaults, key) for entry in entries]


def _make(entry: Any, defaults: dict[str, Any], key: str) -> Any:
    name, arguments = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()), ("", {}))
    if not isinstance(entry, str) and (len(entry) != 1 or not isinstance(arguments, dict)):
        raise UserError(f"{key}: a transform is a name or {{Name: {{argument: value}}}}, got {dict(entry)!r}")
    if name.startswith("torchvision/"):
        return TorchvisionTransform(name.removeprefix("torchvision/"), **arguments)
    kind = TRANSFORMS.get(name)
    parameters = inspect.signature(kind).parameters
    for argument in arguments:
        if argument not in parameters:
            raise UserError(
                f"{key}: {name} takes no {argument!r}{nearest(argument, list(parameters))} ({', '.join(parameters)})"
            )
    given = {k: v for k, v in defaults.items() if k in parameters and v not in ((), None)} | dict(arguments)
    missing = [k for k, p in parameters.items() if p.default is p.empty and k not in given]
    if missing:
        remedy = (
            "set INPUT.SIZE_TRAIN and INPUT.SIZE_TEST" if missing == ["size"] else f"give {{{name}: {{{missing[0]}: ...}}}}"
        )
        raise UserError(f"{key}: {name} needs {', '.join(missing)}; {remedy}")
    return kind(**given)
