"""The model and loss factories: the only place of this room that reads `cfg`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from config import Config
from modeling.activation_checkpointing import checkpoint_blocks
from modeling.arguments import call, takers, takes
from modeling.losses import LOSSES
from modeling.losses.outputs import check_outputs
from modeling.losses.weighted_sum import WeightedSum
from modeling.models import MODELS
from modeling.models.timm_models import timm_model
from modeling.models.torchvision_models import torchvision_model
from utils.errors import UserError


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
        if drop_path and not takes(factory, "drop_path"):
            raise UserError(f"MODEL.DROP_PATH: {name} has no stochastic depth; {takers(MODELS, 'drop_path')} have it")
        facts: dict[str, Callable[[], Any]] = {
            "in_channels": lambda: channels,
            "num_classes": lambda: num_classes,
            "image_size": lambda: image_size,
            "hidden": lambda: cfg.MODEL.HIDDEN,
            "drop_path": lambda: drop_path,
        }
        model = call(factory, facts, cfg.MODEL.ARGS, f"MODEL.ARGS: the model {name}")
    if cfg.MODEL.ACTIVATION_CHECKPOINTING:
        checkpoint_blocks(model, name)
    return model


def build_loss(cfg: Config, *, num_classes: int, model: nn.Module | None = None) -> nn.Module:
    """The loss that LOSS.NAME names, or the weighted sum of LOSS.TERMS.

    Args:
        model: what the loss is to train; None: nothing is known of it.

    Raises:
        UserError: an unknown name, class weights that do not fit, something asked of it that it does not have, or a loss and
            a model that do not fit each other.
    """
    feature_dim = getattr(model, "feature_dim", 0)
    if not cfg.LOSS.TERMS:
        loss = _one_loss(cfg, cfg.LOSS.NAME, cfg.LOSS.ARGS, num_classes, feature_dim)
        check_outputs(cfg.MODEL.NAME, model, [(cfg.LOSS.NAME, loss)])
        return loss
    terms = [read_term(term) for term in cfg.LOSS.TERMS]
    for key in ("LABEL_SMOOTHING", "CLASS_WEIGHTS"):
        if cfg.LOSS[key] and not any(takes(LOSSES.get(name), key.lower()) for name, _, _ in terms):
            raise UserError(f"LOSS.{key}: none of LOSS.TERMS has anything of the kind; {takers(LOSSES, key.lower())} have it")
    losses = [_one_loss(cfg, name, args, num_classes, feature_dim) for name, _, args in terms]
    check_outputs(cfg.MODEL.NAME, model, [(name, loss) for (name, _, _), loss in zip(terms, losses, strict=True)])
    return WeightedSum([(loss, name, weight) for loss, (name, weight, _) in zip(losses, terms, strict=True)])


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
        if cfg.LOSS[key] and not takes(factory, key.lower()):
            raise UserError(f"LOSS.{key}: the loss {name} has nothing of the kind; {takers(LOSSES, key.lower())} have it")
    facts: dict[str, Callable[[], Any]] = {
        "num_classes": lambda: num_classes,
        "feature_dim": lambda: feature_dim,
        "label_smoothing": lambda: cfg.LOSS.LABEL_SMOOTHING,
        "class_weights": lambda: cfg.LOSS.CLASS_WEIGHTS,
        "focal_gamma": lambda: cfg.LOSS.FOCAL_GAMMA,
    }
    loss: nn.Module = call(factory, facts, args, f"the arguments of the loss {name}")
    return loss
