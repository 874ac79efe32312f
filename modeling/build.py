"""The model and loss factories: the only place of this room that reads `cfg`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from config import Config
from modeling.activation_checkpointing import checkpoint_blocks
from modeling.losses import LOSSES
from modeling.models import MODELS
from modeling.models.timm_models import timm_model
from modeling.models.torchvision_models import torchvision_model
from utils.errors import UserError
from utils.registry import Registry


def build_model(cfg: Config, *, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    """The model that MODEL.NAME names, untrained.

    Raises:
        UserError: an unknown name, an image that the model cannot take, or something asked of it that it does not have.
    """
    channels = cfg.MODEL.IN_CHANNELS or in_channels
    name, drop_path = cfg.MODEL.NAME, cfg.MODEL.DROP_PATH
    if name.startswith("torchvision/"):
        model = torchvision_model(name.removeprefix("torchvision/"), channels, num_classes, image_size, drop_path)
    elif name.startswith("timm/"):
        model = timm_model(name.removeprefix("timm/"), channels, num_classes, image_size, drop_path)
    else:
        factory = MODELS.get(name)
        if drop_path and "drop_path" not in inspect.signature(factory).parameters:
            raise UserError(f"MODEL.DROP_PATH: {name} has no stochastic depth; {_takers(MODELS, 'drop_path')} have it")
        facts: dict[str, Callable[[], Any]] = {
            "in_channels": lambda: channels,
            "num_classes": lambda: num_classes,
            "image_size": lambda: image_size,
            "hidden": lambda: cfg.MODEL.HIDDEN,
            "drop_path": lambda: drop_path,
        }
        model = _call(factory, facts)
    if cfg.MODEL.ACTIVATION_CHECKPOINTING:
        checkpoint_blocks(model, name)
    return model


def build_loss(cfg: Config, *, num_classes: int) -> nn.Module:
    """The loss that LOSS.NAME names.

    Raises:
        UserError: an unknown name, class weights that do not fit, or something asked of it that it does not have.
    """
    factory = LOSSES.get(cfg.LOSS.NAME)
    names = inspect.signature(factory).parameters
    for key in ("LABEL_SMOOTHING", "CLASS_WEIGHTS"):
        if cfg.LOSS[key] and key.lower() not in names:
            takers = _takers(LOSSES, key.lower())
            raise UserError(f"LOSS.{key}: the loss {cfg.LOSS.NAME} has nothing of the kind; {takers} have it")
    facts: dict[str, Callable[[], Any]] = {
        "num_classes": lambda: num_classes,
        "label_smoothing": lambda: cfg.LOSS.LABEL_SMOOTHING,
        "class_weights": lambda: cfg.LOSS.CLASS_WEIGHTS,
        "focal_gamma": lambda: cfg.LOSS.FOCAL_GAMMA,
    }
    return _call(factory, facts)


def _call(factory: Callable[..., Any], facts: dict[str, Callable[[], Any]]) -> Any:
    """Calls a factory with those of `facts` that it names; the others are not even read, and so reported where set."""
    names = inspect.signature(factory).parameters
    return factory(**{name: read() for name, read in facts.items() if name in names})


def _takers(registry: Registry, argument: str) -> str:
    """The names of the factories that take `argument`."""
    return ", ".join(n for n in registry.names() if argument in inspect.signature(registry.get(n)).parameters)
