"""Backbones: what is left of a classifier without its pooling and its head. From an image they make a map of features.

Where a classifier is cut:
- modeling/models: its class has a method `features(image)` that gives the map, B x C x H x W; modules called like those of
  HEADS are dropped.
- torchvision: of its parts, in the order of their definition, those before the first that is called like one of HEADS; they
  run one after another. Models that work otherwise (vit_*, maxvit_t) are refused.
- timm: as timm cuts it, with `num_classes=0, global_pool=""`.
The weights keep their names, so that a classifier's file fills a backbone.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from layers.feature_maps import ChannelsToFront, TokensToMap
from modeling.arguments import call, check_choice, takers, takes
from modeling.blocks import find_blocks
from modeling.models import MODELS
from modeling.models.timm_models import timm_model
from modeling.models.torchvision_models import torchvision_model
from utils.errors import UserError

HEADS = ("avgpool", "fc", "classifier", "head", "heads")
STRIDES = ("own", "one")


@dataclass(frozen=True)
class Backbone:
    """What `build_backbone` gives.

    Attributes:
        module: image -> features, in whatever layout.
        to_map: those -> B x channels x H x W; it has no weights.
        channels: of the map.
        rows: H, for images of the size that it was built for.
    """

    module: nn.Module
    to_map: nn.Module
    channels: int
    rows: int


def build_backbone(
    name: str,
    in_channels: int,
    image_size: tuple[int, int],
    drop_path: float = 0.0,
    last_stride: str = "own",
    args: dict[str, Any] | None = None,
) -> Backbone:
    """The backbone of the classifier called `name` (as MODEL.NAME names it), untrained.

    Args:
        image_size: (height, width) in pixels.
        drop_path: stochastic depth, the rate of the last block.
        last_stride: one: the last stage does not halve the map (Sun et al., 2018; Luo et al., 2019); own: as it is.
        args: further arguments of the classifier's factory; only those of modeling/models have some.

    Raises:
        UserError: there is no such classifier, it gives no map, or it has not what is asked of it.
    """
    check_choice("MODEL.ARGS last_stride", last_stride, STRIDES)
    source, _, inner = name.partition("/")
    if args and inner:
        raise UserError(f"MODEL.ARGS backbone_args {args}: {name} takes none; only models of modeling/models do")
    if source == "torchvision":
        module = _without_head(torchvision_model(inner, in_channels, 1, image_size, drop_path))
    elif source == "timm":
        module = timm_model(inner, in_channels, 0, image_size, drop_path, pooled=False)
    else:
        module = _own(name, in_channels, image_size, drop_path, args or {})
    if last_stride == "one":
        _keep_resolution(module, name)
    to_map = _layout(module)
    sizes = _try(module, to_map, name, (1, in_channels, *image_size))
    return Backbone(module, to_map, sizes[1], sizes[2])


def _own(name: str, in_channels: int, image_size: tuple[int, int], drop_path: float, args: dict[str, Any]) -> nn.Module:
    factory = MODELS.get(name)
    if drop_path and not takes(factory, "drop_path"):
        raise UserError(f"MODEL.DROP_PATH: {name} has no stochastic depth; {takers(MODELS, 'drop_path')} have it")
    facts: dict[str, Callable[[], Any]] = {
        "in_channels": lambda: in_channels,
        "num_classes": lambda: 1,
        "image_size": lambda: image_size,
        "drop_path": lambda: drop_path,
    }
    module: nn.Module = call(factory, facts, args, f"MODEL.ARGS backbone_args: the model {name}")
    features = getattr(type(module), "features", None)
    if not inspect.isfunction(features):
        raise UserError(f"MODEL.ARGS backbone {name}: {_NO_MAP}, by a method features(image)")
    for head in HEADS:
        if hasattr(module, head):
            delattr(module, head)
    module.forward = MethodType(features, module)  # a bound method: a deep copy then runs its own weights
    return module


def _without_head(model: nn.Module) -> nn.Module:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for name, child in model.named_children():
        if name in HEADS:
            break
        parts[name] = child
    if type(model).__name__ == "DenseNet":
        parts["relu"] = nn.ReLU(inplace=True)  # a function of its forward, no part of it
    return nn.Sequential(parts)


def _layout(module: nn.Module) -> nn.Module:
    """What makes a map of the features of timm's transformers."""
    if str(getattr(module, "output_fmt", "")) == "NHWC":
        return ChannelsToFront()
    first: int | None = getattr(module, "num_prefix_tokens", None)
    if first is not None:
        return TokensToMap(first, getattr(getattr(module, "patch_embed", None), "grid_size", None))
    return nn.Identity()


def _keep_resolution(module: nn.Module, name: str) -> None:
    """Takes the last stride of 2 from whatever has it within one block: convolutions, and the shortcut beside them."""
    for block in reversed(find_blocks(module).values()):
        strided: list[Any] = [part for part in block.modules() if getattr(part, "stride", 1) in (2, (2, 2))]
        for part in strided:
            part.stride = 1 if part.stride == 2 else (1, 1)
        if strided:
            return
    raise UserError(f"MODEL.ARGS last_stride one: no block of {name} has a stride; leave it own")


def _try(module: nn.Module, to_map: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The sizes of the map of one image."""
    try:
        with torch.no_grad():
            features = to_map(module.eval()(torch.zeros(shape)))
    except (RuntimeError, ValueError, TypeError, AssertionError, NotImplementedError) as error:
        why = " ".join(str(error).split())[:120]
        size = " x ".join(map(str, shape[1:]))
        raise UserError(f"MODEL.ARGS backbone {name}: it makes no map of an image of {size} ({why})") from error
    finally:
        module.train()
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise UserError(f"MODEL.ARGS backbone {name}: {_NO_MAP}")
    return tuple(features.shape)


_NO_MAP = "a backbone gives a map of features, B x C x H x W"
