"""The model and loss factories: the only place of this room that reads `cfg`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from config import Config
from modeling.activation_checkpointing import checkpoint_blocks
from modeling.losses import LOSSES
from modeling.losses.weighted_sum import WeightedSum
from modeling.models import MODELS
from modeling.models.timm_models import timm_model
from modeling.models.torchvision_models import torchvision_model
from utils.errors import UserError
from utils.registry import Registry, nearest


def build_model(cfg: Config, *, in_channels: int, num_classes: int, image_size: tuple[int, int]) -> nn.Module:
    """The model that MODEL.NAME names, untrained.

    Raises:
        UserError: an unknown name, an image that the model cannot take, or something asked of it that it does not have.
    """
    channels = cfg.MODEL.IN_CHANNELS or in_channels
    name, drop_path = cfg.MODEL.NAME, cfg.MODEL.DROP_PATH
    if cfg.MODEL.ARGS and name.partition("/")[0] in ("torchvision", "timm"):
        raise UserError(f"MODEL.ARGS {dict(cfg.MODEL.ARGS)}: {name} takes none; only models of modeling/models do")
    if name.startswith("torchvision/"):
        model = torchvision_model(name.removeprefix("torchvision/"), channels, num_classes, image_size, drop_path)
    elif name.startswith("timm/"):
        model = timm_model(name.removeprefix("timm/"), channels, num_classes, image_size, drop_path)
    else:
        factory = MODELS.get(name)
        if drop_path and not _takes(factory, "drop_path"):
            raise UserError(f"MODEL.DROP_PATH: {name} has no stochastic depth; {_takers(MODELS, 'drop_path')} have it")
        facts: dict[str, Callable[[], Any]] = {
            "in_channels": lambda: channels,
            "num_classes": lambda: num_classes,
            "image_size": lambda: image_size,
            "hidden": lambda: cfg.MODEL.HIDDEN,
            "drop_path": lambda: drop_path,
        }
        model = _call(factory, facts, cfg.MODEL.ARGS, f"MODEL.ARGS: the model {name}")
    if cfg.MODEL.ACTIVATION_CHECKPOINTING:
        checkpoint_blocks(model, name)
    return model


def build_loss(cfg: Config, *, num_classes: int, feature_dim: int = 0) -> nn.Module:
    """The loss that LOSS.NAME names, or the weighted sum of LOSS.TERMS.

    Args:
        feature_dim: length of the features that the model gives; 0: it gives none.

    Raises:
        UserError: an unknown name, class weights that do not fit, or something asked of it that it does not have.
    """
    if not cfg.LOSS.TERMS:
        return _one_loss(cfg, cfg.LOSS.NAME, cfg.LOSS.ARGS, num_classes, feature_dim)
    terms = [read_term(term) for term in cfg.LOSS.TERMS]
    for key in ("LABEL_SMOOTHING", "CLASS_WEIGHTS"):
        if cfg.LOSS[key] and not any(_takes(LOSSES.get(name), key.lower()) for name, _, _ in terms):
            raise UserError(f"LOSS.{key}: none of LOSS.TERMS has anything of the kind; {_takers(LOSSES, key.lower())} have it")
    return WeightedSum([(_one_loss(cfg, name, args, num_classes, feature_dim), name, weight) for name, weight, args in terms])


def read_term(term: Any) -> tuple[str, float, dict[str, Any]]:
    """(name, weight, further arguments) of an entry of LOSS.TERMS.

    Raises:
        UserError: it is something else.
    """
    name, weight, args = (*term, {})[:3] if isinstance(term, list | tuple) and len(term) in (2, 3) else (None, None, None)
    if not isinstance(name, str) or isinstance(weight, bool) or not isinstance(weight, int | float) or weight <= 0:
        raise UserError(f"LOSS.TERMS: {term!r} is no [name, weight above 0] or [name, weight, {{argument: value}}] list")
    if not isinstance(args, dict):
        raise UserError(f"LOSS.TERMS: the arguments of {name} have to be {{argument: value}}, not {args!r}")
    return name, float(weight), args


def _one_loss(cfg: Config, name: str, args: dict[str, Any], num_classes: int, feature_dim: int) -> nn.Module:
    factory = LOSSES.get(name)
    for key in ("LABEL_SMOOTHING", "CLASS_WEIGHTS") if not cfg.LOSS.TERMS else ():
        if cfg.LOSS[key] and not _takes(factory, key.lower()):
            takers = _takers(LOSSES, key.lower())
            raise UserError(f"LOSS.{key}: the loss {name} has nothing of the kind; {takers} have it")
    if _takes(factory, "feature_dim") and not feature_dim:
        raise UserError(
            f"the loss {name} needs a model that gives features, such as MODEL.NAME embedding; {cfg.MODEL.NAME} gives none"
        )
    facts: dict[str, Callable[[], Any]] = {
        "num_classes": lambda: num_classes,
        "feature_dim": lambda: feature_dim,
        "label_smoothing": lambda: cfg.LOSS.LABEL_SMOOTHING,
        "class_weights": lambda: cfg.LOSS.CLASS_WEIGHTS,
        "focal_gamma": lambda: cfg.LOSS.FOCAL_GAMMA,
    }
    loss: nn.Module = _call(factory, facts, args, f"the arguments of the loss {name}")
    return loss


def _call(factory: Callable[..., Any], facts: dict[str, Callable[[], Any]], args: dict[str, Any], what: str) -> Any:
    """Calls a factory with `args` and with those of `facts` that it names; the others are not even read, and so reported
    where set.

    Raises:
        UserError: the factory knows an argument not, or not such a value of it.
    """
    names = inspect.signature(factory).parameters
    for name in args:
        if name not in names or name in facts:
            free = [known for known in names if known not in facts]
            raise UserError(f"{what}: no argument {name!r}{nearest(name, free)} (there are: {', '.join(free) or 'none'})")
    return factory(**{name: read() for name, read in facts.items() if name in names}, **args)


def _takes(factory: Callable[..., Any], argument: str) -> bool:
    return argument in inspect.signature(factory).parameters


def _takers(registry: Registry, argument: str) -> str:
    """The names of the factories that take `argument`."""
    return ", ".join(n for n in registry.names() if _takes(registry.get(n), argument))
