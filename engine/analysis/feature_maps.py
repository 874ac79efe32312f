"""The last map of features of a network, and what it says of the places of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from modeling.losses.outputs import entry
from utils.errors import UserError


def last_map(model: nn.Module, image: Tensor) -> tuple[str, Tensor, Any]:
    """The name of the last module that gives a B x C x H x W tensor with H and W above 1, what it gave for `image`, and
    what the model gave. Gradients flow between the two, where `image` needs one.

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
        with torch.set_grad_enabled(image.requires_grad):
            outputs = model.eval()(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise UserError(
            "no module of this model gives a map of features (B x C x H x W, H and W above 1), so none can be drawn"
        )
    return (*found[0], outputs)


def strength(features: Tensor, size: Sequence[int]) -> Tensor:
    """B x C x h x w -> B x H x W: the norm over the channels, enlarged to `size`, from 0 to 1 within each image.

    Zagoruyko and Komodakis, Paying more attention to attention, 2017.
    """
    norm = functional.interpolate(features.float().norm(dim=1, keepdim=True), size=tuple(size), mode="bilinear")[:, 0]
    least, most = norm.amin(dim=(1, 2), keepdim=True), norm.amax(dim=(1, 2), keepdim=True)
    span = most - least
    return ((norm - least) / span).where(span > 1e-5 * most, 0.0)  # below that there is only rounding


def grad_cam(model: nn.Module, image: Tensor) -> tuple[str, torch.Size, Tensor, Tensor]:
    """Of the last map: its name and shape (C x h x w), where it speaks for the predicted class (B x H x W, 0 to 1 within
    each image, all 0 where nothing does), and the predicted classes (B).

    Selvaraju et al., Grad-CAM: visual explanations from deep networks via gradient-based localization, 2017.

    Args:
        image: B x C x H x W, normalised, on the model's device.

    Raises:
        UserError: no module gives such a map.
    """
    image = image.detach().requires_grad_(True)
    name, features, outputs = last_map(model, image)
    logits = entry(outputs, "logits")
    predicted = logits.argmax(dim=1)
    chosen = logits.gather(1, predicted[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, features, allow_unused=True)
    if gradient is None:  # the map is beside the way from image to logits
        return name, features.shape[1:], image.new_zeros(len(image), *image.shape[2:]), predicted
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    maps = functional.relu((weights * features.detach().float()).sum(dim=1, keepdim=True))
    size = tuple(image.shape[2:])
    maps = functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)[:, 0]
    return name, features.shape[1:], maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12), predicted
