"""Where the time of a step goes: data, forward, backward, optimizer, and the operators within."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from engine.analysis.borrow import borrowed, windows
from engine.task import Batch
from engine.trainer import Trainer
from utils.errors import UserError
from utils.files import temporary_beside

PHASES = ("data", "to device", "forward", "backward", "optimizer", "rest")


@dataclass(frozen=True)
class Operator:
    """One row of the table: seconds of an operator itself, without what it calls, in one step."""

    name: str
    calls: float
    seconds: float
    share: float


@dataclass(frozen=True)
class Profile:
    """Seconds of each of PHASES in one step (means), and the operators that take most."""

    phases: dict[str, float]
    operators: list[Operator]
    steps: int

    @property
    def step(self) -> float:
        """Seconds of a whole step, its data included."""
        return sum(self.phases.values())


def profile_steps(trainer: Trainer, *, steps: int = 10, warmup: int = 3, top: int = 12, trace: Path | None = None) -> Profile:
    """Times some training steps, then runs torch's profiler over a few more; the trainer's state is put back.

    Phases are timed without the profiler, which makes everything slower; on a GPU the device is waited for at the end of
    each phase, so that the time stands where it was caused, and overlaps of phases are not seen.

    Args:
        warmup: steps before, which start workers, compile and fill caches.
        top: how many operators.
        trace: where a Chrome trace goes (open it in ui.perfetto.dev or chrome://tracing); None for none.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else the profiler's library writes to the screen
    clock = _Clock(trainer.device)
    coming = windows(trainer)
    few = min(steps, 5)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if trainer.device.type == "cuda" else [])]
    with borrowed(trainer):
        _take_steps(trainer, coming, warmup, _Clock(trainer.device))
        _take_steps(trainer, coming, steps, clock)
        with profile(activities=activities) as profiler:
            _take_steps(trainer, coming, few, _Clock(trainer.device))
    if trace is not None:
        _write_trace(profiler, trace)
    return Profile({name: clock.seconds[name] / steps for name in PHASES}, _operators(profiler, few, top), steps)


def _write_trace(profiler: Any, trace: Path) -> None:
    """The Chrome trace; UserError where it cannot be written, of which the profiler itself says nothing."""
    aside = temporary_beside(trace)
    try:
        trace.parent.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(aside))
        os.replace(aside, trace)
    except OSError as error:
        with suppress(OSError):
            Path(f"{aside}.tmp").unlink()  # where it writes first
        raise UserError(f"{trace}: the trace cannot be written (a full disk, or a folder that is not yours?)") from error


class _Clock:
    """Seconds by phase; those of a phase within another count for the inner one alone."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._inside: list[str] = []
        self._since = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What is spent within belongs to `name`; it has that name in the profiler's trace as well."""
        self._charge()
        self._inside.append(name)
        try:
            with record_function(f"phase: {name}"):
                yield
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
        finally:
            self._charge()
            self._inside.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._inside:
            self.seconds[self._inside[-1]] += now - self._since
        self._since = now

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, its time charged to `name`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        return call


def _take_steps(trainer: Trainer, coming: Iterator[list[Batch]], steps: int, clock: _Clock) -> None:
    with _listening(trainer, clock):
        for _ in range(steps):
            with clock.phase("data"):
                window = next(coming)
            with clock.phase("rest"):
                trainer.train_step(window)


@contextmanager
def _listening(trainer: Trainer, clock: _Clock) -> Iterator[None]:
    """Puts the clock around the parts of a step, whoever's `train_step` it is; takes it off again."""
    parts: list[tuple[Any, str, str]] = [
        (trainer, "prepare", "to device"),
        (trainer, "compute_losses", "forward"),
        (torch.Tensor, "backward", "backward"),
        (trainer.optimizer, "step", "optimizer"),
    ]
    before = [(owner, name, getattr(owner, name), name in vars(owner)) for owner, name, _ in parts]
    for owner, name, phase in parts:
        setattr(owner, name, clock.timed(phase, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, function, own in before:
            if own:
                setattr(owner, name, function)
            else:
                delattr(owner, name)


def _operators(profiler: profile, steps: int, top: int) -> list[Operator]:
    """Those with the most time of their own: the device's where there is one, else the CPU's."""
    rows = [e for e in profiler.key_averages() if not e.key.startswith(("phase: ", "ProfilerStep", "profiler::"))]
    on_device = any(e.self_device_time_total > 0 for e in rows)
    times = [(e.self_device_time_total if on_device else e.self_cpu_time_total, e) for e in rows]
    whole = sum(microseconds for microseconds, _ in times) or 1.0
    times.sort(key=lambda pair: pair[0], reverse=True)
    return [Operator(e.key, e.count / steps, t / 1e6 / steps, t / whole) for t, e in times[:top] if t > 0]
