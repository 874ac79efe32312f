"""What the speed benchmarks share: a recorded run of this template, the plain loops beside it, medians of turns."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

MEAN, STD = 0.5, 0.25  # of the synthetic images
LOG_PERIOD = 50


def arguments(description: str | None, *, rounds: int) -> argparse.Namespace:
    """--json, --rounds and --peers."""
    return make_parser(description, rounds=rounds).parse_args()


def make_parser(description: str | None, *, rounds: int, peers: bool = True) -> argparse.ArgumentParser:
    """The same, for those who take more."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object to stdout and nothing else")
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of each competitor; medians are taken")
    if peers:
        parser.add_argument("--peers", action="store_true", help="other libraries as well, those that are installed")
    return parser


def cuda_or_end(name: str) -> torch.device:
    """The CUDA device; where there is none, that is the end: one line, exit code 2."""
    import torch

    if not torch.cuda.is_available():
        print(f"benchmarks.{name} needs a CUDA device, and torch finds none here", file=sys.stderr)
        raise SystemExit(2)
    return torch.device("cuda", torch.cuda.current_device())


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked for."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def show(result: dict[str, Any], as_json: bool) -> None:
    """The result as one JSON object, or as lines."""
    if as_json:
        print(json.dumps(result, allow_nan=False))
        return
    for name, value in result.items():
        for row in value if isinstance(value, list) else [value]:
            print(f"{name}: {row:.3f}" if isinstance(row, float) else f"{name}: {row}")


def with_byte_code(folder: Path) -> dict[str, str]:
    """The environment of processes that keep their byte code, as a user's do: below `folder` where ours is kept nowhere."""
    environment = dict(os.environ)
    if environment.pop("PYTHONDONTWRITEBYTECODE", ""):
        environment.setdefault("PYTHONPYCACHEPREFIX", str(folder / "byte_code"))
    return environment


def seconds(act: Callable[[], Any]) -> float:
    """How long `act` takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of each turn: what slows both in a turn falls out."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """The least and the greatest of those ratios."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return [min(ratios), max(ratios)]


def finite(value: float) -> float | None:
    """What JSON can say: None for what is infinite."""
    return value if math.isfinite(value) else None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within, what is logged to the screen is dropped (a bar is drawn nevertheless, see `Terminal`)."""
    with contextlib.redirect_stderr(Terminal()), contextlib.redirect_stdout(io.StringIO()):
        yield


class Terminal(io.StringIO):
    """Says that it is a terminal, so that the bar is drawn, and forgets what is written."""

    def isatty(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Forgets it."""
        return len(text)


def recorded_run(words: Sequence[str], hook: Any) -> None:
    """`tools/train_net.py` with these keys in a temporary folder, on the CPU unless they say otherwise; `hook`, a Hook, comes
    after all others."""
    import train_net

    from engine.hooks import HOOKS

    name = f"benchmark_{id(hook)}"
    HOOKS.register(name)(lambda **_: hook)
    with tempfile.TemporaryDirectory() as folder, quiet():
        keys = [*words, "HOOKS", f"('{name}',)", "TEST.AT_END", "False"]
        code = train_net.main(["--device", "cpu", "--why", "how fast is it?", "--output-dir", folder, *keys])
    assert code == 0, f"the run ended with {code}"
