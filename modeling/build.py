"""The model and loss factories: the only place of this room that reads `cfg`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from config import Config
from modeling.losses import LOSSES
from modeling.models import MODELS
from modeling.models.torchvision_models import torchvision_model


def build_model(cfg: Config, *, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    """The model that MODEL.NAME names, untrained.

    Raises:
        UserError: an unknown name, or an image that the model cannot take.
    """
    channels = cfg.MODEL.IN_CHANNELS or in_channels
    name = cfg.MODEL.NAME
    if name.startswith("torchvision/"):
        return torchvision_model(name.removeprefix("torchvision/"), channels, num_classes)
    facts = {
        "in_channels": channels,
        "num_classes": num_classes,
        "image_size": image_size,
        "hidden": cfg.MODEL.HIDDEN,
    }
    return _call(MODELS.get(name), facts)


def build_loss(cfg: Config, *, num_classes: int) -> nn.Module:
    """The loss that LOSS.NAME names.

    Raises:
        UserError: an unknown name, or class weights that do not fit.
    """
    facts = {
        "num_classes": num_classes,
        "label_smoothing": cfg.LOSS.LABEL_SMOOTHING,
        "class_weights": cfg.LOSS.CLASS_WEIGHTS,
    }
    return _call(LOSSES.get(cfg.LOSS.NAME), facts)


def _call(factory: Callable[..., Any], facts: dict[str, Any]) -> Any:
    """Calls a factory with those of `facts` that it names."""
    names = inspect.signature(factory).parameters
    return factory(**{name: value for name, value in facts.items() if name in names})
