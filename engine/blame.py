"""Whose line it was: an error in a part that somebody added names that very file first, before any traceback.

Needs no torch, so that every tool can use it.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# What carries the parts around: the loop, the loaders, the factories. A part that fails fails *through* these.
PLUMBING = re.compile(
    r"(tools|config|tracking|utils)/.*|data/loaders/.*|(data|modeling|solver)/[^/]+\.py|data/transforms/(build|adapter)\.py"
    r"|modeling/losses/outputs\.py|engine/(analysis|preflight|retrieval|search|shipping|figures)/.*"
    r"|engine/(hooks|evaluators)/(base|build|trial)\.py|engine/[^/]+\.py"
)
_LINE = re.compile(r'^\s*File "(.+)", line (\d+), in (\S+)', flags=re.MULTILINE)


def blame(error: BaseException) -> str:
    """`modeling/losses/mine.py:12 in forward: ValueError: text`, for the innermost frame of this repository that is
    no plumbing; for an error that never left the plumbing the innermost of its frames here; else without a place."""
    places: list[tuple[str, int, str]] = []
    for link in _chain(error):
        found = [(name, line, function) for file, line, function in _frames(link) if (name := _inside(file))]
        own = [place for place in found if not PLUMBING.fullmatch(place[0])]
        if own:
            return f"{_text(own[-1])}: {_said(error)}"
        places = places or found
    return f"{_text(places[-1])}: {_said(error)}" if places else _said(error)


def report(error: BaseException) -> str:
    """The line of `blame` and, where the error came out of a model, a loss or an evaluator, the shapes that met."""
    return "\n".join([blame(error), *shapes(error)])


def own_lines(text: str) -> list[str]:
    """Of a traceback as text the places in this repository that are no plumbing, outermost first."""
    found = [(name, int(line), function) for file, line, function in _LINE.findall(text) if (name := _inside(file))]
    return [_text(place) for place in found if not PLUMBING.fullmatch(place[0])]


def passed_through(error: BaseException, name: str) -> bool:
    """Whether an error came out of a file of this repository, such as engine/inference.py."""
    return any(_inside(file) == name for link in _chain(error) for file, _, _ in _frames(link))


def shapes(error: BaseException) -> list[str]:
    """Lines that name model, loss and batch with their shapes; none where the error came from elsewhere."""
    met: dict[str, Any] = {}
    for link in _chain(error):
        trace = link.__traceback__
        while trace is not None:
            code, values = trace.tb_frame.f_code, trace.tb_frame.f_locals
            if (_inside(code.co_filename), code.co_name) == ("engine/task.py", "forward"):
                met = {"task": values.get("self"), **values}
            elif (_inside(code.co_filename), code.co_name) == ("engine/inference.py", "evaluate"):
                met = dict(values)
            trace = trace.tb_next
    task, batch = met.get("task"), met.get("batch")
    if task is None or not isinstance(batch, dict):
        return []
    (model, loss), outputs = task.names, met.get("outputs")
    gave = f"-> {_shape(outputs)}" if outputs is not None else "-> it failed on the way"
    return [
        f"  model  {model} ({type(task.model).__name__}): image {_shape(batch.get('image'))} {gave}",
        f"  loss   {loss} ({type(task.loss).__name__})",
        f"  batch  {', '.join(f'{name} {_shape(value)}' for name, value in batch.items())}",
    ]


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, then what it was raised from."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _frames(error: BaseException) -> list[tuple[str, int, str]]:
    """File, line and function, outermost first; those of a data worker or of a file that does not compile as well."""
    found = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append((code.co_filename, trace.tb_lineno, code.co_name))
        trace = trace.tb_next
    if "Original Traceback" in str(error):  # what a worker process hands over is text
        found += [(file, int(line), function) for file, line, function in _LINE.findall(str(error))]
    if isinstance(error, SyntaxError) and error.filename:
        found.append((error.filename, error.lineno or 0, "import"))
    return found


def _inside(file: str) -> str:
    """The path below the repository's root; "" for what lies outside, or belongs to an installed package."""
    path = Path(file)
    if not path.is_absolute() or ROOT not in path.parents or Path(sysconfig.get_paths()["purelib"]) in path.parents:
        return ""
    name = path.relative_to(ROOT)
    return "" if "site-packages" in name.parts or name.parts[0].startswith(".") else name.as_posix()


def _text(place: tuple[str, int, str]) -> str:
    return f"{place[0]}:{place[1]} in {place[2]}"


def _said(error: BaseException) -> str:
    """`ValueError: text`; of a worker's error the last line, which is the error itself."""
    if "Original Traceback" in str(error):
        return str(error).strip().splitlines()[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _shape(value: Any) -> str:
    """`128x3x32x32 float32`; of a dict each entry; of anything else its type."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_shape(entry)}" for name, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        size = "x".join(map(str, value.shape)) or "scalar"
        return f"{size} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__
