"""torchvision's v2 transforms as ours: `torchvision/<Name>`, drawn from the sample's own generator."""

from __future__ import annotations

from typing import Any

import numpy
import torch

from utils.errors import UserError
from utils.registry import nearest


class TorchvisionTransform:
    """Runs a v2 transform on the image (and mask). v2 draws from torch's global generator: seeded here, and put back.

    Raises:
        UserError: torchvision has no transform of that name, or it does not take these arguments.
    """

    in_threads = False

    def __init__(self, name: str, **arguments: Any) -> None:
        from torchvision import tv_tensors  # slow to import
        from torchvision.transforms import v2

        kind = getattr(v2, name, None)
        if not isinstance(kind, type) or not issubclass(kind, v2.Transform):
            raise UserError(f"torchvision has no transform {name!r}{nearest(name, [n for n in dir(v2) if n[0].isupper()])}")
        try:
            self.transform = kind(**arguments)
        except (TypeError, ValueError) as error:
            raise UserError(f"torchvision/{name}: {error}") from error
        self.name = f"torchvision/{name}"
        self._mask = tv_tensors.Mask

    def __call__(self, sample: dict[str, Any], rng: numpy.random.Generator) -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            if "mask" not in sample:
                return {**sample, "image": self.transform(sample["image"])}
            image, mask = self.transform(sample["image"], self._mask(sample["mask"]))
        return {**sample, "image": image, "mask": mask.as_subclass(torch.Tensor)}
