"""How time grows when data, steps, hooks, runs, threads or workers grow tenfold; and whether memory grows with the steps.

    python -m benchmarks.growth [--json] [--rounds 3]

An exponent is the slope in log-log: 1 says that the time a unit stays the same, less that a fixed part is shared by more of
them. `ratio` is the largest one. The small and the large take turns; medians of the rounds' exponents are taken.
"""

from __future__ import annotations

import io
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.common import ROOT, arguments, recorded_run, seconds, show

SMALL, FACTOR = 100, 10  # units of the small one, and how many times more the large one has
RUNS = 150


def main() -> None:
    """Measures and prints; with `peak STEPS` as words, is the process whose memory is looked at."""
    if sys.argv[1:2] == ["peak"]:
        train(steps=int(sys.argv[2]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    args = arguments(__doc__, rounds=3)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: exponents(act, args.rounds) for name, act in scenes(Path(folder)).items()}
    peaks = [statistics.median(peak(steps) for _ in range(args.rounds)) for steps in (5 * SMALL, 5 * SMALL * FACTOR)]
    single = {name: statistics.median(values) for name, values in found.items()}
    worst = max(single, key=lambda name: single[name])
    result = {
        "ratio": single[worst], "spread": [min(found[worst]), max(found[worst])], "largest": worst, "rounds": args.rounds,
        "exponents": single, "memory_more_mb": peaks[1] - peaks[0],
    }  # fmt: skip
    show(result, args.json)


def scenes(folder: Path) -> dict[str, Callable[[int], float]]:
    """For each thing that grows: how many times as much of it -> seconds."""
    exp = {factor: make_records(folder / f"exp{factor}", RUNS * factor) for factor in (1, FACTOR)}
    pictures = make_pictures(folder / "pictures")
    return {
        "data": lambda factor: train(samples=64 * SMALL * factor, steps=SMALL * factor),
        "steps": lambda factor: train(steps=SMALL * factor),
        "hooks": lambda factor: train(steps=SMALL, hooks=10 * factor),
        "runs, index made anew": lambda factor: rebuild(exp[factor]),
        "runs, exp.py ls": lambda factor: seconds(lambda: list_runs(exp[factor])),
        "threads": lambda factor: load(pictures, "threads", factor),
        "workers": lambda factor: load(pictures, "processes", factor),
    }


def exponents(act: Callable[[int], float], rounds: int) -> list[float]:
    """One a round; what comes before the first warms up."""
    act(1)
    return [math.log(act(FACTOR) / act(1), FACTOR) for _ in range(rounds)]


def train(*, steps: int, samples: int = 64 * SMALL, hooks: int = 0) -> float:
    """Seconds of a recorded run from its first step to its last, all defaults on."""
    from engine.hooks.base import Hook

    class Idle(Hook):
        def after_step(self, trainer: Any) -> None:
            """Is called, and no more."""

    class Clock(Hook):
        def before_train(self, trainer: Any) -> None:
            trainer.add_hooks([Idle() for _ in range(hooks)])
            self.start = time.perf_counter()

        def after_train(self, trainer: Any) -> None:
            self.seconds = time.perf_counter() - self.start

    clock = Clock()
    keys = {
        "NAME": "growth", "DATASETS.TRAIN": f"synthetic:{samples}x1x28x28x10", "DATASETS.VAL_FRACTION": 0.0,
        "MODEL.NAME": "mlp", "SOLVER.MAX_STEPS": steps, "SOLVER.MAX_EPOCHS": steps,
    }  # fmt: skip
    recorded_run([str(word) for pair in keys.items() for word in pair], clock)
    return clock.seconds


def peak(steps: int) -> float:
    """Peak resident memory of a run of so many steps, in MB."""
    words = [sys.executable, "-m", "benchmarks.growth", "peak", str(steps)]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def make_records(folder: Path, count: int) -> Path:
    """A folder of so many runs."""
    import contextlib

    from benchmarks import tracking

    with contextlib.redirect_stdout(io.StringIO()):
        tracking.clone(tracking.first_run(folder), folder, count)
    return folder


def rebuild(folder: Path) -> float:
    """Seconds to read every record."""
    from tracking.reading import index

    return seconds(lambda: index.load(folder, full=True))


def list_runs(folder: Path) -> None:
    """The tool as a user starts it."""
    words = [sys.executable, "tools/exp.py", "ls", "--sort", "val/top1", "--output-dir", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def make_pictures(folder: Path, count: int = 400) -> Path:
    """A folder of small JPEGs in two classes."""
    import numpy
    from PIL import Image

    rng = numpy.random.default_rng(0)
    for number in range(count):
        file = folder / f"class{number % 2}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (96, 128, 3), dtype=numpy.uint8)).save(file, "JPEG")
    return folder


def load(pictures: Path, kind: str, workers: int) -> float:
    """Seconds of an epoch of a loader with so many threads or processes, their start included."""
    import config
    from data import build_splits, make_data_loader

    place = f"image_folder:{pictures}"
    keys = {
        "DATASETS.TRAIN": place, "DATASETS.VAL": place, "DATASETS.TEST": place, "DATASETS.VAL_FRACTION": 0,
        "INPUT.SIZE_TRAIN": "[64, 64]", "INPUT.TRANSFORMS_TRAIN": "[RandomResizedCrop]", "DATALOADER.LOADER": kind,
        "DATALOADER.NUM_WORKERS": workers, "SOLVER.IMS_PER_BATCH": 16,
    }  # fmt: skip
    cfg = config.load(config.parse_arguments([str(word) for pair in keys.items() for word in pair]))
    loader = make_data_loader(cfg, "train", build_splits(cfg))
    return seconds(lambda: [batch["index"] for batch in loader])


if __name__ == "__main__":
    main()
