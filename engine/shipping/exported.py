"""The module that is exported: pixels in, one tensor out; and what has to be done to an image before, as plain values."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data.transforms.adapter import TorchvisionTransform
from data.transforms.geometry import CenterCrop, Resize
from engine.shipping.build import Trained
from modeling.losses.outputs import entry
from utils.errors import UserError

# what is predicted -> the entry of a model's dict of outputs that says it
ENTRIES = {"class": "logits", "labels": "logits", "value": "prediction", "identity": "feature"}


class Exported(nn.Module):
    """uint8 images B x C x H x W -> float32, B x classes (logits), B x D (a feature) or B (values): normalises, then asks the
    model, in float32 on the CPU.

    Args:
        trained: its model is copied.

    Attributes:
        output: what comes out: logits, feature or prediction.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        known, self.output = trained.prepare.describe(), ENTRIES[trained.kind]
        mean, std = torch.tensor(known["mean"] or [0.0]), torch.tensor(known["std"] or [1.0])
        self.repeat = known["repeat"]
        self.scale = nn.Buffer((1 / (known["scale"] * std)).view(1, -1, 1, 1))
        self.shift = nn.Buffer((-mean / std).view(1, -1, 1, 1))
        self.model = copy.deepcopy(trained.task.model).float().cpu().to(memory_format=torch.contiguous_format).eval()
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """As above."""
        floats = image.to(torch.float32)
        if self.repeat > 1:
            floats = floats.expand(-1, self.repeat, -1, -1)
        return entry(self.model(floats * self.scale + self.shift), self.output)


def preprocessing(trained: Trained) -> dict[str, Any]:
    """What preprocessing.json says: how a file becomes the model's input, and what its output means."""
    known = trained.prepare.describe()
    # A set whose images are all of one size needs no steps; as in prediction, files of any other are resized to it.
    transforms = trained.transforms or [Resize(trained.size)]
    steps = [step_of(one) for one in transforms]
    if isinstance(transforms[0], Resize):
        steps[0]["draft"] = True  # as in training, a large JPEG may be decoded smaller before it
    return {
        "input": {"name": "image", "dtype": "uint8", "shape": ["batch", trained.channels, *trained.size]},
        "color": "grey" if trained.channels == 1 else "RGB",
        "steps": steps,
        "inside_the_model": {
            "divide_by": known["scale"],
            "mean": known["mean"],
            "std": known["std"],
            "repeat": known["repeat"],
        },
        "output": {"name": ENTRIES[trained.kind], "kind": trained.kind},
        "classes": [] if trained.kind == "identity" else trained.classes,
    }


def step_of(transform: Any) -> dict[str, Any]:
    """{"resize": [height, width]}, {"resize_shorter": pixels}, {"center_crop": [height, width]}, or {"other": its name}."""
    if isinstance(transform, Resize):
        return {"resize": list(transform.size)}
    if isinstance(transform, CenterCrop):
        return {"center_crop": list(transform.size)}
    if isinstance(transform, TorchvisionTransform):
        return _torchvision_step(transform.transform)
    return {"other": type(transform).__name__}


def _torchvision_step(transform: Any) -> dict[str, Any]:
    name, size = type(transform).__name__, getattr(transform, "size", None)
    sides = [size] if isinstance(size, int) else list(size) if isinstance(size, Sequence) else []
    if name == "CenterCrop" and sides:
        return {"center_crop": [sides[0], sides[-1]]}
    usual = name == "Resize" and transform.antialias and not transform.max_size
    usual = usual and getattr(transform.interpolation, "value", transform.interpolation) == "bilinear"
    if usual and sides:
        return {"resize_shorter": sides[0]} if len(sides) == 1 else {"resize": sides}
    return {"other": f"torchvision/{name}"}


def unexpressed(facts: dict[str, Any]) -> list[str]:
    """Names of steps that the examples cannot take, of what `preprocessing` gave."""
    return [step["other"] for step in facts["steps"] if "other" in step]


def check_images(image: Tensor, trained: Trained) -> None:
    """Raises UserError where samples are numbers, not pixels."""
    if image.dtype != torch.uint8:
        raise UserError(
            f"{trained.weights}: trained on numbers ({image.dtype}), not on images; only models of images are exported"
        )
