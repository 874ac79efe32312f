"""Weights from a file into a model, with a report; what does not match is an error unless it was allowed by name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from utils.errors import UserError


@dataclass(frozen=True)
class LoadReport:
    """Names of weights by what happened to them; those of `summed` are among the matched ones."""

    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]
    retyped: list[str]
    summed: list[str]

    def text(self) -> str:
        """One line with the numbers and the first names of each kind."""
        parts = []
        for kind in ("matched", "missing", "unexpected", "reshaped", "retyped"):
            names = getattr(self, kind)
            shown = f" ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})" if names and kind != "matched" else ""
            if names or kind != "retyped":
                parts.append(f"{len(names)} {kind}{shown}")
        if self.summed:
            parts.append(f"{self.summed[0]} summed over RGB for grey images")
        return ", ".join(parts)


def load_state_file(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a .pt/.pth file: bare, or under "model" or "state_dict"; DDP's "module." is taken off.

    A .safetensors file is read with the package safetensors, which comes with timm.

    Raises:
        UserError: no such file, not readable as weights (plain tensors only: nothing in it may run), or none in it.
    """
    try:
        content: Any = _load_safetensors(path) if Path(path).suffix == ".safetensors" else _load_torch(path)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such weights file") from error
    except Exception as error:  # torch raises many kinds for broken files
        raise UserError(f"{path}: no weights that can be read safely ({' '.join(str(error).split())[:150]})") from error
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = (
        {k.removeprefix("module."): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    )
    if not tensors:
        raise UserError(f"{path}: holds no weights (a state dict, or one under 'model' or 'state_dict')")
    return tensors


def _load_torch(path: str | Path) -> Any:
    # Torchreid's files say their score beside the weights, as a number of NumPy's: plain data, which torch does not know.
    scalar = numpy.float64(0).__reduce__()[0]
    names = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
    known: list[Any] = [*((scalar, name) for name in names), numpy.dtype, type(numpy.dtype("f4")), type(numpy.dtype("f8"))]
    known.append(argparse.Namespace)  # and those of timm's train.py their flags
    with torch.serialization.safe_globals(known):
        return torch.load(path, map_location="cpu", weights_only=True)


def _load_safetensors(path: str | Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"{path}: needs the package safetensors: `make` installs it, or pip install safetensors") from error
    return load_file(path)


def load_weights(model: nn.Module, state: dict[str, Tensor], allow: Sequence[str] = ()) -> LoadReport:
    """Copies what matches by name and shape into `model`, in place.

    Where the model's first convolution takes one channel and that of `state` three, its kernels are summed over RGB: it then
    gives for a grey image what the other gives for that image in all three channels.

    Where the model has `weights_prefix` ("backbone.") and no name of `state` begins with it, all of them get it: the file of
    a classifier fills the backbone.

    Args:
        allow: patterns (fnmatch) of names that may be missing, unexpected, of another shape or of another kind of
            number (whole numbers where the model has fractions; float16 for float32 is converted without asking).

    Raises:
        UserError: nothing matched, or a mismatch that no pattern allows; the model is then unchanged.
    """
    own, prefix = model.state_dict(), str(getattr(model, "weights_prefix", ""))
    if not any(k.startswith(prefix) for k in state):
        state = {prefix + k: value for k, value in state.items()}
    grey = [k for k, value in own.items() if k in state and _is_grey_of(value, state[k])]
    state = {**state, **{k: state[k].sum(dim=1, keepdim=True) for k in grey}}
    reshaped = sorted(k for k in own if k in state and own[k].shape != state[k].shape)
    same = [k for k in own if k in state and k not in reshaped]
    retyped = sorted(k for k in same if own[k].is_floating_point() != state[k].is_floating_point())
    matched = sorted(k for k in same if k not in retyped)
    missing, unexpected = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    report = LoadReport(matched, missing, unexpected, reshaped, retyped, grey)
    if not matched:
        raise UserError(f"no weight matches the model by name and shape: {report.text()}; is it another model's file?")
    wrong = [k for k in (*missing, *unexpected, *reshaped, *retyped) if not any(fnmatch(k, p) for p in allow)]
    if wrong:
        raise UserError(f"weights do not fit the model: {report.text()}; if that is meant, name them in MODEL.WEIGHTS_ALLOW")
    model.load_state_dict({k: state[k] for k in matched}, strict=False)
    return report


def _is_grey_of(own: Tensor, given: Tensor) -> bool:
    """Whether `own` is the kernel (out x 1 x h x w) of a convolution on grey images, `given` its like on RGB."""
    return own.ndim == 4 and own.shape[1] == 1 and given.shape == (len(own), 3, *own.shape[2:])
