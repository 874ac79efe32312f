"""torchvision's classifiers by name: `torchvision/resnet18`. MODEL.WEIGHTS fills them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from utils.errors import UserError
from utils.registry import nearest


def torchvision_model(
    name: str, in_channels: int, num_classes: int, image_size: tuple[int, int], drop_path: float = 0.0
) -> nn.Module:
    """The model with `num_classes` outputs and, where images have other than 3 channels, a new first convolution.

    Args:
        image_size: (height, width) in pixels, for those that are built for one size.
        drop_path: torchvision's `stochastic_depth_prob`, the rate of the last block; 0 leaves the model's own.

    Raises:
        UserError: torchvision has no classifier of that name, its first convolution cannot be found, it cannot take
            images of that size, or it has no stochastic depth and `drop_path` is set.
    """
    import torchvision  # slow to import

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise UserError(f"torchvision has no model {name!r}{nearest(name, known)}")
    more: dict[str, Any] = {"image_size": image_size[0]} if name.startswith("vit_") else {}
    if name in ("googlenet", "inception_v3"):
        more = {"aux_logits": False, "init_weights": True}  # auxiliary heads would give no tensor in training
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **more)
    if in_channels != 3:
        _widen(model, name, in_channels)
    if drop_path:
        _set_drop_path(model, name, drop_path)
    _try(model, name, (in_channels, *image_size))
    return model


def _try(model: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    """One image through the model: that its size does not fit is said before there is a run."""
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        size = " x ".join(map(str, shape))
        raise UserError(f"torchvision/{name} cannot take images of {size}: {error}; set INPUT.SIZE_TRAIN") from error
    finally:
        model.train()


def _set_drop_path(model: nn.Module, name: str, rate: float) -> None:
    """Scales the rates of all blocks, so that the greatest is `rate`: some constructors do not take the argument."""
    from torchvision.ops import StochasticDepth

    paths = [module for module in model.modules() if isinstance(module, StochasticDepth)]
    greatest = max((path.p for path in paths), default=0.0)
    if greatest == 0:
        raise UserError(
            f"MODEL.DROP_PATH: torchvision/{name} has no stochastic depth; "
            "of torchvision convnext_*, efficientnet_*, swin_* and maxvit_t have it"
        )
    for path in paths:
        path.p *= rate / greatest


def _widen(model: nn.Module, name: str, in_channels: int) -> None:
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1:
            fresh = nn.Conv2d(
                in_channels,
                module.out_channels,
                (module.kernel_size[0], module.kernel_size[1]),
                (module.stride[0], module.stride[1]),
                padding=module.padding if isinstance(module.padding, str) else (module.padding[0], module.padding[1]),
                bias=module.bias is not None,
            )
            parent, _, attribute = path.rpartition(".")
            setattr(model.get_submodule(parent), attribute, fresh)
            return
    raise UserError(f"torchvision/{name}: no first convolution of 3 channels found to make it take {in_channels}")
