"""How time grows with data, steps, hooks, runs and workers; whether ten times the threads cost; whether memory grows.

    python -m benchmarks.growth [--json] [--rounds 5]

Each is timed at three sizes. An exponent is the slope in log-log of the differences between their times: what is fixed (the
start of a process, the end of a run) falls out, and 1 says that a unit more costs the same however many there are. `ratio`
is the largest one. Sizes take turns; medians of the rounds' exponents are taken. Where the smaller difference drowns in what
the smallest size varies by, there is no exponent (null), and the page says so. Workers are counted with their start, over an
epoch of the same length. Threads share that epoch and start at once: theirs is `ten_times`, 20 threads over 2. Memory is what
a process of its own holds (resident, of Linux's /proc) at two steps of one run: a peak would be that of its start.
"""

from __future__ import annotations

import io
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.common import ROOT, arguments, ratio, recorded_run, seconds, show, spread

STEPS, HOOKS, RUNS, WORKERS = (100, 500, 2500), (100, 1000, 10_000), (500, 2000, 8000), (2, 5, 14)
THREADS = 2, 20
HELD_STEPS = 500, 5000
Turn = list[float]  # seconds at each size


def main() -> None:
    """Measures and prints; with `memory` as a word, is the process whose memory is looked at."""
    if sys.argv[1:] == ["memory"]:
        print(*held_at_steps())
        return
    args = arguments(__doc__, rounds=5)
    words = [sys.executable, "-m", "benchmarks.growth", "memory"]
    first, last = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        pictures, found = make_pictures(Path(folder) / "pictures"), {}
        for name, (sizes, act) in scenes(Path(folder), pictures).items():
            print(f"  {name} ...", file=sys.stderr, flush=True)
            found[name] = exponents(take_turns(act, sizes, args.rounds), sizes)
        turns = take_turns(lambda count: load(pictures, "threads", count), THREADS, args.rounds)
    few, many = zip(*turns, strict=True)
    result = {
        **summary(found), "rounds": args.rounds, "memory_more_mb": float(last) - float(first),
        "ten_times": {"threads": ratio(many, few)}, "ten_times_spreads": {"threads": spread(many, few)},
    }  # fmt: skip
    show(result, args.json)


def scenes(folder: Path, pictures: Path) -> dict[str, tuple[tuple[int, ...], Callable[[int], float]]]:
    """For each thing that grows: three numbers of it, and number -> seconds."""
    for count in RUNS:
        make_records(folder / f"exp{count}", count)
    return {
        "data": (STEPS, lambda count: train(samples=64 * count, steps=count)),
        "steps": (STEPS, lambda count: train(steps=count)),
        "hooks": (HOOKS, lambda count: train(samples=64 * 2000, steps=2000, hooks=count)),
        "runs, index made anew": (RUNS, lambda count: rebuild(folder / f"exp{count}")),
        "runs, exp.py ls": (RUNS, lambda count: seconds(lambda: list_runs(folder / f"exp{count}"))),
        "workers": (WORKERS, lambda count: load(pictures, "processes", count)),
    }


def take_turns(act: Callable[[int], float], sizes: Sequence[int], rounds: int) -> list[Turn]:
    """The seconds of each round at each size; what comes before the first warms up."""
    act(sizes[0])
    return [[act(size) for size in sizes] for _ in range(rounds)]


def exponents(turns: list[Turn], sizes: Sequence[int]) -> list[float]:
    """One a round; none at all where the differences between the times are lost in noise."""
    least = [turn[0] for turn in turns]
    steps = [(turn[1] - turn[0], turn[2] - turn[1]) for turn in turns]
    if min(map(min, steps)) <= 0 or statistics.median(first for first, _ in steps) < 2 * (max(least) - min(least)):
        return []
    growth = math.log((sizes[2] - sizes[1]) / (sizes[1] - sizes[0]))
    return [math.log(second / first) / growth for first, second in steps]


def summary(found: dict[str, list[float]]) -> dict[str, Any]:
    """The medians of the rounds' exponents, null where there is none, and the largest."""
    single = {name: statistics.median(values) for name, values in found.items() if values}
    worst = max(single, key=lambda name: single[name], default="")
    return {
        "ratio": single.get(worst), "largest": worst, "exponents": {name: single.get(name) for name in found},
        "spreads": {name: [min(values), max(values)] for name, values in found.items() if values},
    }  # fmt: skip


def train(*, steps: int, samples: int = 6400, hooks: int = 0) -> float:
    """Seconds of a recorded run from its first step to its last, all defaults on; with `hooks` so many that do nothing,
    and steps that do nothing either, for they would hide what hooks cost."""
    from engine.hooks.base import Hook

    class Idle(Hook):
        def after_step(self, trainer: Any) -> None:
            """Is called, and no more."""

    class Clock(Hook):
        def before_train(self, trainer: Any) -> None:
            trainer.add_hooks([Idle() for _ in range(hooks)])
            if hooks:
                trainer.train_step = lambda window: None
            self.start = time.perf_counter()

        def after_train(self, trainer: Any) -> None:
            self.seconds = time.perf_counter() - self.start

    clock = Clock()
    run(clock, steps, samples)
    return clock.seconds


def held_at_steps() -> list[float]:
    """MB that this process holds at two steps of a run."""
    from engine.hooks.base import Hook

    held: list[float] = []

    class Look(Hook):
        def after_step(self, trainer: Any) -> None:
            if trainer.step in HELD_STEPS:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                held.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    run(Look(), HELD_STEPS[-1], 6400)
    return held


def run(hook: Any, steps: int, samples: int) -> None:
    """A recorded run of the MLP, all defaults on."""
    keys = {
        "NAME": "growth", "DATASETS.TRAIN": f"synthetic:{samples}x1x28x28x10", "DATASETS.VAL_FRACTION": 0.0,
        "MODEL.NAME": "mlp", "SOLVER.MAX_STEPS": steps, "SOLVER.MAX_EPOCHS": steps,
    }  # fmt: skip
    recorded_run([str(word) for pair in keys.items() for word in pair], hook)


def make_records(folder: Path, count: int) -> Path:
    """A folder of so many runs."""
    import contextlib

    from benchmarks import tracking

    with contextlib.redirect_stdout(io.StringIO()):
        tracking.clone(tracking.first_run(folder), folder, count)
    rebuild(folder)
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
