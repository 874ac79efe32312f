"""What a second rank brings, and what the trainer costs beside DistributedDataParallel in a loop written by hand.

    python -m benchmarks.scaling [--json] [--rounds 7]

Two gloo ranks with one thread each, 16 images of 32 x 32 a rank and step. In turns: resnet20 in the plain loop on rank 0 alone,
while rank 1 waits; in the plain loop with DDP on both; and an epoch of a recorded run with all that is on by default, its
checkpoint included. Efficiency is the time of a step alone over that of a step together: 1 if the second rank costs nothing. A
small MLP, whose step is as long as a message or two, shows what a step costs beside computing. `cpu_ratio` is the ratio in
processor time of rank 0, which other work on the machine hardly touches.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.common import ROOT, arguments, quiet, ratio, show, spread
from benchmarks.overhead import plain_loop
from engine.hooks import HOOKS
from engine.hooks.base import Hook
from engine.hooks.checkpoints import CheckpointHook

BATCH = 16  # samples a rank and step
CASES = {"resnet20": 40, "mlp": 400}  # model -> steps of a turn
RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__, rounds=7)
    cases = {model: measure(model, args.rounds) for model in CASES}
    result = {
        "ratio": cases["resnet20"]["ratio"],
        "spread": cases["resnet20"]["spread"],
        "cpu_ratio": cases["resnet20"]["cpu_ratio"],
        "efficiency": cases["resnet20"]["efficiency"],
        "efficiency_spread": cases["resnet20"]["efficiency_spread"],
        "small_steps_ratio": cases["mlp"]["ratio"],
        "small_steps_spread": cases["mlp"]["spread"],
        "rounds": args.rounds,
        "cases": cases,
    }
    show(result, args.json)


def measure(model: str, rounds: int) -> dict[str, Any]:
    """One case, measured by two processes; rank 0 says what it saw."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-W", "ignore", *RANKS, "-m", "benchmarks.scaling", "--rank", model, str(rounds), folder]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        turns = json.loads((Path(folder) / "turns.json").read_text())
    kept = {name: times[1 : rounds + 1] for name, times in turns.items()}  # the first turn warms up
    alone, plain, ours = (kept[name] for name in ("alone", "plain", "ours"))
    return {
        "ratio": ratio(ours, plain), "spread": spread(ours, plain), "efficiency": ratio(alone, ours),
        "efficiency_spread": spread(alone, ours), "efficiency_by_hand": ratio(alone, plain),
        "cpu_ratio": ratio(kept["ours_cpu"], kept["plain_cpu"]),
        "us_a_step": [round(1e6 * sorted(times)[len(times) // 2]) for times in (alone, plain, ours)],
    }  # fmt: skip


def run_rank(model: str, rounds: int, folder: str) -> None:
    """A rank of a recorded run whose epochs take turns with the plain loops."""
    import train_net

    torch.set_num_threads(1)
    turns = Turns()
    HOOKS.register("turns")(lambda **_: turns)
    keys = {
        "DATASETS.TRAIN": f"synthetic:{CASES[model] * 2 * BATCH}x3x32x32x10", "DATASETS.VAL_FRACTION": 0.0,
        "MODEL.NAME": model, "SOLVER.IMS_PER_BATCH": 2 * BATCH, "SOLVER.MAX_EPOCHS": rounds + 2, "HOOKS": "('turns',)",
        "TEST.AT_END": False, "MODEL.DEVICE": "cpu", "OUTPUT_DIR": f"{folder}/exp",
    }  # fmt: skip
    with quiet():
        code = train_net.main([str(word) for pair in keys.items() for word in pair])
    assert code == 0, f"the run ended with {code}"
    if os.environ["RANK"] == "0":
        (Path(folder) / "turns.json").write_text(json.dumps(turns.times))


class Turns(Hook):
    """Before each epoch of the run the plain loops have their turn. The run's turn lasts until its checkpoint is on disk.

    Attributes:
        times: seconds a step of each turn, by the clock and ("_cpu") of the processor.
    """

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def before_train(self, trainer: Any) -> None:
        """Models like the run's, over the same tensors: one for rank 0 alone, one for both."""
        self.data = trainer.loader.dataset.arrays()
        self.checkpoints = next(hook for hook in trainer.hooks if isinstance(hook, CheckpointHook))
        alone, together = (copy.deepcopy(trainer.task.model) for _ in range(2))
        self.models = {"alone": alone, "plain": nn.parallel.DistributedDataParallel(together)}
        self.optimizers = {
            name: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
            for name, model in self.models.items()
        }

    def before_epoch(self, trainer: Any) -> None:
        """The run's turn ends; then that of rank 0 alone, then that of both."""
        if trainer.epoch:
            self.checkpoints.wait()
            dist.barrier()
            self._note("ours", trainer.steps_per_epoch)
        for name in ("alone", "plain"):
            if name == "plain" or trainer.is_main:
                batches = rank_batches(*self.data, trainer.epoch, trainer.rank)
                self._start()
                plain_loop(self.models[name], self.optimizers[name], batches)
                self._note(name, trainer.steps_per_epoch)
            dist.barrier()
        self._start()

    def _start(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def _note(self, name: str, steps: int) -> None:
        clock, processor = self.start
        self.times.setdefault(name, []).append((time.perf_counter() - clock) / steps)
        self.times.setdefault(f"{name}_cpu", []).append((time.process_time() - processor) / steps)


def rank_batches(images: Tensor, targets: Tensor, epoch: int, rank: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A rank's half of each batch of a shuffled epoch."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
    for start in range(rank * BATCH, len(order), 2 * BATCH):
        index = order[start : start + BATCH]
        yield images[index], targets[index]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        run_rank(sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main()
