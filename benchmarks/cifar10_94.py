"""Time to 94 % on CIFAR-10 on one GPU: this template's recipe over the same recipe written by hand.

    python -m benchmarks.cifar10_94 [--json] [--rounds 1] [--data DIR]

The two are `configs/train_cifar10_fast.yml`, run by tools/train_net.py with all its records, and `cifar10_by_hand.py`, with
torchvision's transforms in a DataLoader. They take turns, each in a process of its own with a seed of its own turn. What
counts is the time from the end of the first step, which compiles, to the end of the first epoch after which the test is at
94 %; tests are left out of it, as speed-runs leave out theirs and their warm-up. `ratio` as in benchmarks.accuracy.
CIFAR-10 is downloaded into DIR where it is not there.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import cifar10_by_hand
from benchmarks.accuracy import Clock, Curve, summary
from benchmarks.common import ROOT, cuda_or_end, make_parser, recorded_run, show, wait
from engine.trainer import Trainer

GOAL = 0.94


def main() -> None:
    """Measures and prints; with a word as the first argument, is one of the two processes."""
    if sys.argv[1:2] in (["ours"], ["by_hand"]):
        print(json.dumps((ours if sys.argv[1] == "ours" else by_hand)(Path(sys.argv[2]), int(sys.argv[3]))))
        return
    parser = make_parser(__doc__, rounds=1, peers=False)
    parser.add_argument("--data", type=Path, default=ROOT / "datasets", help="folder with cifar-10-python.tar.gz in it")
    args = parser.parse_args()
    device = cuda_or_end("cifar10_94")
    turns: dict[str, list[tuple[float, Curve]]] = {"ours": [], "by_hand": []}
    for seed in range(args.rounds):
        for kind, taken in turns.items():
            taken.append(turn(kind, args.data, seed))
    result = summary({kind: [curve for _, curve in taken] for kind, taken in turns.items()}, GOAL)
    result["first_step_s"] = statistics.median(first for first, _ in turns["ours"])
    show({**result, "device": torch.cuda.get_device_name(device)}, args.json)


def turn(kind: str, folder: Path, seed: int) -> tuple[float, Curve]:
    """One training in a process of its own: seconds of the first step, and the curve after it."""
    words = [sys.executable, "-m", "benchmarks.cifar10_94", kind, str(folder), str(seed)]
    done = subprocess.run(words, cwd=ROOT, env=dict(os.environ), check=True, stdout=subprocess.PIPE, text=True)
    first, curve = json.loads(done.stdout.splitlines()[-1])
    return first, curve


class WarmClock(Clock):
    """Begins when the first step is done, and waits for the device whenever it reads the time."""

    first_step = 0.0

    def after_step(self, trainer: Trainer) -> None:
        """The first step compiles."""
        if trainer.step == 1:
            wait(trainer.device)
            self.first_step, self.since = time.perf_counter() - self.since, time.perf_counter()

    def after_epoch(self, trainer: Trainer) -> None:
        """Of an epoch everything has been done, not only asked for."""
        wait(trainer.device)
        super().after_epoch(trainer)


def ours(folder: Path, seed: int, *keys: str, device: str = "cuda") -> tuple[float, Curve]:
    """The recorded run, with these keys besides."""
    words: Sequence[Any] = ["--config-file", str(ROOT / "configs" / "train_cifar10_fast.yml"), "--seed", str(seed)]
    words = [*words, "DATASETS.ROOT", str(folder), "MODEL.DEVICE", device, *keys]
    clock = WarmClock(words)
    recorded_run(words, clock)
    return clock.first_step, clock.curve


def by_hand(folder: Path, seed: int) -> tuple[float, Curve]:
    """The recipe by hand, until it is there."""
    curve: Curve = []
    first = 0.0
    for first, spent, score in cifar10_by_hand.train(*cifar10_by_hand.read(folder), seed, torch.device("cuda")):  # noqa: B007
        curve.append((spent, score))
        if score >= GOAL:
            break
    return first, curve


if __name__ == "__main__":
    main()
