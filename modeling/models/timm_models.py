"""timm's models by name: `timm/convnext_tiny`. MODEL.WEIGHTS fills them; nothing is downloaded."""

from __future__ import annotations

from typing import Any

from torch import nn

from utils.errors import UserError
from utils.registry import nearest


def timm_model(
    name: str,
    in_channels: int,
    num_classes: int,
    image_size: tuple[int, int],
    drop_path: float = 0.0,
    pooled: bool = True,
) -> nn.Module:
    """The model with `num_classes` outputs for images of `in_channels` channels, untrained.

    Args:
        image_size: (height, width) in pixels, for models that are built for one size, such as `timm/vit_tiny_patch16_224`.
        drop_path: timm's `drop_path_rate`, the stochastic-depth rate of the last block; 0 leaves the model's own.
        pooled: whether it pools its features; with 0 classes it then gives them as they are.

    Raises:
        UserError: timm is not installed, has no such model, or the model refuses the size or `drop_path`.
    """
    try:
        import timm  # an extra, and slow to import
    except ImportError as error:
        raise UserError(f"timm/{name} needs the package timm: `make` installs it, or pip install 'timm>=1.0.9'") from error
    if not timm.is_model(name):
        raise UserError(f"timm has no model {name!r}{nearest(name, timm.list_models())}")
    arguments: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels}
    pretrained = timm.get_pretrained_cfg(name)
    if pretrained is not None and pretrained.fixed_input_size:
        arguments["img_size"] = image_size
    if not pooled:
        arguments["global_pool"] = ""
    if drop_path:
        arguments["drop_path_rate"] = drop_path
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    except TypeError as error:
        if "global_pool" in str(error):
            raise UserError(f"timm/{name} gives no features before they are pooled; take another backbone") from error
        if "drop_path_rate" not in str(error):
            raise
        raise UserError(f"MODEL.DROP_PATH: {_no_drop_path(name)}") from error
    except (AssertionError, ValueError) as error:
        height, width = image_size
        raise UserError(f"timm/{name} refuses images of {height} x {width} pixels ({error}); set INPUT.SIZE_TRAIN") from error
    if drop_path and not any(getattr(module, "drop_prob", None) for module in model.modules()):
        raise UserError(f"MODEL.DROP_PATH: {_no_drop_path(name)}")
    return model


def _no_drop_path(name: str) -> str:
    return f"timm/{name} has no stochastic depth; timm's resnet*, convnext*, vit_*, swin_*, efficientnet* have it"
