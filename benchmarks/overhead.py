"""What the loop costs: a recorded run with all that is on by default, over a plain hand-written loop.

    python -m benchmarks.overhead [--json] [--rounds 9] [--peers]

Softmax and MLP on made images of 28 x 28, batches of 64 and 256, one thread. Epochs of the run (order, normalising, all
hooks, a row every 50 steps, TensorBoard, bar, the checkpoint at the end of the epoch until it is on disk) take turns with
epochs of the plain loop over the same tensors, with those of a loop by hand that has this template's own optimizer and
normalising (what is left is the loop alone), and with a part of the usual loop over a DataLoader, in one process.
Validation is measured by benchmarks.evaluation.
"""

from __future__ import annotations

import copy
import itertools
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.common import LOG_PERIOD, MEAN, STD, arguments, ratio, recorded_run, seconds, show, spread
from engine.hooks.base import Hook
from engine.hooks.checkpoints import CheckpointHook

SAMPLES = 30_000
CASES = [(model, batch) for model in ("softmax", "mlp") for batch in (64, 256)]


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__, rounds=9)
    torch.set_num_threads(1)
    cases = [measure(model, batch, args.rounds) for model, batch in CASES]
    result = {
        "ratio": max(case["ratio"] for case in cases),
        "ratio_to_dataloader": max(case["ratio_to_dataloader"] for case in cases),
        "rounds": args.rounds,
        "cases": cases,
    }
    if args.peers:
        from benchmarks import overhead_peers

        result["peers"] = overhead_peers.measure_all()
    show(result, args.json)


def measure(model: str, batch: int, rounds: int) -> dict[str, Any]:
    """One case: microseconds a step of the four loops, and our ratio to the others."""
    turns = Turns(batch)
    keys = {
        "NAME": "overhead", "DATASETS.TRAIN": f"synthetic:{SAMPLES}x1x28x28x10", "DATASETS.VAL_FRACTION": 0.0,
        "MODEL.NAME": model, "SOLVER.IMS_PER_BATCH": batch, "SOLVER.MAX_EPOCHS": rounds + 2,
    }  # fmt: skip
    recorded_run([str(word) for pair in keys.items() for word in pair], turns)
    # the first turn warms up; the last epoch's checkpoint is not waited for
    ours, plain, own, usual = (times[1 : rounds + 1] for times in (turns.ours, turns.plain, turns.own, turns.usual))
    return {
        "model": model, "batch": batch, "ratio": ratio(ours, plain), "ratio_to_dataloader": ratio(ours, usual),
        "spread": spread(ours, plain), "ratio_to_own_parts": ratio(ours, own), "spread_to_own_parts": spread(ours, own),
        "us_a_step": [round(1e6 * sorted(times)[len(times) // 2]) for times in (ours, plain, own, usual)],
    }  # fmt: skip


class Turns(Hook):
    """Before each epoch of the run the other loops have their turn. The run's turn lasts until then: checkpoints come after
    this hook."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.ours: list[float] = []
        self.plain: list[float] = []
        self.own: list[float] = []
        self.usual: list[float] = []

    def before_train(self, trainer: Any) -> None:
        """Models like the run's, over the same tensors."""
        self.data = trainer.loader.dataset.arrays()
        self.checkpoints = next(hook for hook in trainer.hooks if isinstance(hook, CheckpointHook))
        self.models = [copy.deepcopy(trainer.task.model) for _ in range(3)]
        kinds: list[Any] = [torch.optim.SGD, torch.optim.SGD, type(trainer.optimizer)]
        self.optimizers = [
            kind(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
            for kind, model in zip(kinds, self.models, strict=True)
        ]

    def before_epoch(self, trainer: Any) -> None:
        """The run's turn ends when its checkpoint is on disk; then the others'."""
        steps = trainer.steps_per_epoch
        if trainer.epoch:
            self.checkpoints.wait()
            self.ours.append((time.perf_counter() - self._start) / steps)
        usual = usual_batches(*self.data, self.batch)
        for number, times, normalise in ((0, self.plain, normalised), (2, self.own, prepared_by(trainer.prepare))):
            batches = plain_batches(*self.data, self.batch)
            act = partial(plain_loop, self.models[number], self.optimizers[number], batches, normalise)
            times.append(seconds(act) / steps)
        some = min(steps, 100)
        part = itertools.islice(usual, some)
        self.usual.append(seconds(lambda: plain_loop(self.models[1], self.optimizers[1], part)) / some)
        self._start = time.perf_counter()


def plain_batches(images: Tensor, targets: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A shuffled epoch by indexing."""
    order = torch.randperm(len(images))
    for start in range(0, len(order), batch):
        index = order[start : start + batch]
        yield images[index], targets[index]


def usual_batches(images: Tensor, targets: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The same by a DataLoader over samples."""
    yield from DataLoader(TensorDataset(images, targets), batch_size=batch, shuffle=True)


def normalised(images: Tensor) -> Tensor:
    """As one writes it."""
    return images.float().mul_(1 / (255 * STD)).sub_(MEAN / STD)


def prepared_by(prepare: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Tensor], Tensor]:
    """As this template does it."""
    return lambda images: prepare({"image": images})["image"]


def plain_loop(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    normalise: Callable[[Tensor], Tensor] = normalised,
) -> list[float]:
    """The loop that everybody writes first; it reads the loss every 50 steps."""
    losses = []
    for step, (images, targets) in enumerate(batches, 1):
        loss = functional.cross_entropy(model(normalise(images)), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % LOG_PERIOD == 0:
            losses.append(loss.item())
    return losses


if __name__ == "__main__":
    main()
