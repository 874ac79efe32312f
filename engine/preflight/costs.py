"""What a run will cost: time, memory and disk, from a few measured steps."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import torch

from engine import distributed
from engine.analysis.turns import Bench
from engine.memory import peak_memory_mb
from engine.preflight.table import Finding, duration
from engine.trainer import Trainer
from utils.files import free_bytes, size

LOADING = 0.5  # seconds for which the loader is timed


@dataclass
class Costs:
    """What was measured.

    Attributes:
        steps: seconds of single steps, without their data.
        data: seconds that the data of a step take.
        write: seconds of one checkpoint.
        evaluation: seconds of all evaluations of the run.
        bytes: size of a checkpoint.
    """

    steps: list[float] = field(default_factory=list)
    data: float = 0.0
    write: float = 0.0
    evaluation: float = 0.0
    bytes: int = 0

    @property
    def step(self) -> float:
        """Seconds of a step: the median; 0 where none was measured."""
        return statistics.median(self.steps) if self.steps else 0.0

    def compare_rates(self, trainer: Trainer) -> list[Finding]:
        """Samples a second that the loader gives and that the step takes; the slower one sets the pace."""
        turn = Bench(trainer).load(LOADING)
        self.data = turn.step
        if not self.step or not turn.samples:
            return [Finding("speed", "note", "not measured: no step was taken")]
        data, steps = (turn.samples / turn.steps * distributed.world_size() / seconds for seconds in (self.data, self.step))
        text = f"loader {data:,.0f} samples/s, step {steps:,.0f} samples/s ({duration(self.step)} each)"
        if data >= steps:
            return [Finding("speed", "ok", f"{text}: the step is the bottleneck")]
        workers = workers_of(trainer)
        remedy = (
            f"raise DATALOADER.NUM_WORKERS (now {workers}) with DATALOADER.LOADER processes, or take cheaper transforms; "
            "`tools/analyze.py speed` tries what helps"
        )
        return [Finding("speed", "note", f"{text}: the loader is the bottleneck", remedy)]

    def weigh_disk(self, folder: Path, files: int) -> list[Finding]:
        """The checkpoints of the whole run against the free space where they will lie."""
        if not self.bytes:
            return []
        free, needed = free_bytes(folder), files * self.bytes
        text = f"checkpoint {size(self.bytes)}, up to {files} files = {size(needed)}; free {size(free)}"
        if needed > free:
            remedy = "set SOLVER.TOP_K, raise SOLVER.CHECKPOINT_PERIOD, or take another --output-dir"
            return [Finding("disk", "wrong", f"{text}: not enough", remedy)]
        return [Finding("disk", "ok", text)]

    def predict_end(self, trainer: Trainer, writes: int) -> list[Finding]:
        """When the run would be over if it began now."""
        if not self.step:
            return []
        # Workers fetch while the device computes; without them the one waits for the other.
        step = max(self.step, self.data) if workers_of(trainer) else self.step + self.data
        steps, written = trainer.total_steps * step, writes * self.write
        whole = steps + self.evaluation + written
        try:
            end = f"{datetime.now() + timedelta(seconds=whole):%A %Y-%m-%d %H:%M}"
        except OverflowError:
            end = "beyond the calendar"
        parts = f"steps {duration(steps)}, evaluation {duration(self.evaluation)}, checkpoints {duration(written)}"
        return [Finding("end", "ok", f"about {end}, {duration(whole)} from now ({parts})")]


def weigh_memory(device: torch.device) -> list[Finding]:
    """The peak so far against what there is."""
    peak, whole = peak_memory_mb(device) * 1e6, total_memory(device)
    text = f"peak {size(peak)} of {size(whole)} ({device})" if whole else f"peak {size(peak)} ({device})"
    if whole and peak > 0.9 * whole:
        return [Finding("memory", "note", f"{text}: nearly all of it", "raise SOLVER.ACCUMULATE, or lower the batch")]
    return [Finding("memory", "ok", text)]


def workers_of(trainer: Trainer) -> int:
    """Worker processes of the training loader."""
    return int(getattr(trainer.loader, "workers", 0))


def total_memory(device: torch.device) -> int:
    """Bytes of the device, or of the machine for a CPU; 0 where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
