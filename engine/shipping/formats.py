"""The formats a model is exported to: how each is written, and how it is run again by what reads it."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.blame import blame
from engine.shipping.exported import Exported
from utils.errors import UserError
from utils.registry import nearest

MOST = 300  # letters of a reason
Ask = Callable[[Tensor], Tensor]  # uint8 images B x C x H x W -> float32


@dataclass(frozen=True)
class Format:
    """One way to write a model.

    Attributes:
        file: its name in the export folder; `example` that of the script that uses it.
        needs: modules that have to be installed.
        write: (model, two images, path); `load`: (path, model) -> what runs it.
        advice: what to try where the model cannot be written so.
    """

    file: str
    example: str
    needs: tuple[str, ...]
    write: Callable[[Exported, Tensor, Path], None]
    load: Callable[[Path, Exported], Ask]
    advice: str


def choose(text: str) -> dict[str, Format]:
    """The formats that a list of names, parted by commas, means.

    Raises:
        UserError: an unknown one, or packages that are not installed.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError(f"--to names no format; there are {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            raise UserError(f"--to {name}: no such format{nearest(name, list(FORMATS))} (known: {', '.join(FORMATS)})")
    missing = sorted({module for name in names for module in FORMATS[name].needs if find_spec(module) is None})
    if missing:
        raise UserError(f"--to {','.join(names)} needs {', '.join(missing)}: pip install {' '.join(missing)}")
    return {name: FORMATS[name] for name in FORMATS if name in names}


def _write_onnx(model: Exported, images: Tensor, path: Path) -> None:
    with _quiet():
        program = torch.onnx.export(
            model,
            (images,),
            input_names=["image"],
            output_names=[model.output],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
        assert program is not None, "which it gives where dynamo is true"
        program.save(path, external_data=False)


def _load_onnx(path: Path, model: Exported) -> Ask:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # as many as the others have
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def ask(images: Tensor) -> Tensor:
        (output,) = session.run(None, {"image": images.contiguous().numpy()})
        return torch.from_numpy(output)

    return ask


def _write_torch_export(model: Exported, images: Tensor, path: Path) -> None:
    with _quiet():
        program = torch.export.export(model, (images,), dynamic_shapes={"image": {0: torch.export.Dim("batch")}})
        written = io.BytesIO()  # torch's own writing to a file ends the process where the disk is full
        torch.export.save(program, written)
    path.write_bytes(written.getvalue())


def _load_torch_export(path: Path, model: Exported) -> Ask:
    with _quiet():
        module: Ask = torch.export.load(path).module()
    return module


def _write_safetensors(model: Exported, images: Tensor, path: Path) -> None:
    from safetensors.torch import save

    # Each on its own: the format knows no tensors that share their memory
    weights = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in model.model.state_dict().items()}
    path.write_bytes(save(weights, metadata={"format": "pt"}))  # its own save_file lets nobody else read the file


def _load_safetensors(path: Path, model: Exported) -> Ask:
    """A copy of the model that knows nothing but what it reads from the file."""
    from safetensors.torch import load_file

    fresh = copy.deepcopy(model)
    for tensor in fresh.model.state_dict().values():
        tensor.fill_(torch.nan if tensor.is_floating_point() else 0)
    fresh.model.load_state_dict(load_file(path))
    return fresh


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell of their steps, and warn of what is theirs to mend."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


_TRACED = (
    "code that depends on the values of a tensor (if, .item(), a loop) cannot be recorded: write it with torch.where or masks; "
    "{other}safetensors takes any model"
)
FORMATS = {
    "onnx": Format(
        "model.onnx",
        "run_onnx.py",
        ("onnx", "onnxruntime", "onnxscript"),
        _write_onnx,
        _load_onnx,
        _TRACED.format(other="an operation that ONNX lacks may pass with --to torch-export; "),
    ),
    "torch-export": Format(
        "model.pt2", "run_torch_export.py", (), _write_torch_export, _load_torch_export, _TRACED.format(other="")
    ),
    "safetensors": Format(
        "model.safetensors",
        "load_safetensors.py",
        ("safetensors",),
        _write_safetensors,
        _load_safetensors,
        "is the disk full?",
    ),
}


def reason(error: BaseException) -> str:
    """One line on why an exporter failed: the line of the model, and of all that was said the beginning."""
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    said = blame(first)
    return said if len(said) <= MOST else said[:MOST].rpartition(" ")[0] + " ..."


def parity(ask: Ask, reference: Ask, images: Tensor, sizes: Sequence[int]) -> dict[str, Any]:
    """The greatest difference between two over all `images`, in batches of each of `sizes` and then all at once.

    Returns:
        "worst": greatest absolute difference, infinity where shapes differ or one is no number; "scale": the greatest absolute
        value of the reference, at least 1; "images".
    """
    worst, scale, count = 0.0, 1.0, 0
    with torch.no_grad():
        for size in (*sizes, len(images)):
            for part in images.split(size)[: 1 if size == len(images) else 3]:
                expected, found = reference(part).float(), ask(part).float()
                if expected.shape != found.shape:
                    return {"worst": float("inf"), "scale": scale, "images": count}
                gap = (expected - found).abs().max().item()
                worst = max(worst, gap if gap == gap else float("inf"))  # NaN is no agreement
                most = expected.abs().max().item()
                scale = max(scale, most if math.isfinite(most) else 1.0)
                count = max(count, len(part))
    return {"worst": worst, "scale": scale, "images": count}
