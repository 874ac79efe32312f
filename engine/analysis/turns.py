"""Timing in turns: what is compared takes turns of a fraction of a second, so that a busy machine slows all of it alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.analysis.borrow import windows
from engine.task import Batch
from engine.trainer import Trainer

SLOW = 2.0  # seconds of a step


@dataclass(frozen=True)
class Turn:
    """What was done in one turn: steps, their samples, seconds in all, and of these the ones spent waiting for data."""

    seconds: float
    steps: int
    samples: int
    waited: float = 0.0

    @property
    def step(self) -> float:
        """Seconds of one step."""
        return self.seconds / self.steps

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.samples / self.seconds


Work = Callable[[float], Turn]


class Bench:
    """A trainer whose parts can be timed one by one. It is used up by it: its weights stay, its statistics do not.

    Args:
        score: evaluates the first batches of a split, () -> scores; None where there is nothing to evaluate.
        batches, samples: how many these are.
        threads: that torch computes with on the CPU; 0: as it is.
    """

    def __init__(
        self,
        trainer: Trainer,
        score: Callable[[], Any] | None = None,
        *,
        batches: int = 0,
        samples: int = 0,
        threads: int = 0,
    ) -> None:
        self.trainer, self.score, self.batches, self.samples = trainer, score, batches, samples
        self.threads, self.precision = threads or torch.get_num_threads(), torch.get_float32_matmul_precision()
        trainer.task.train()
        trainer.schedule = lambda step: 0.0  # the same batch again and again would explode at some rates
        self._prepare = trainer.prepare
        self.slow = False  # a step is so long that none is taken without being timed
        self._raw: list[Batch] = []
        self._ready: list[Batch] = []

    def settle(self) -> None:
        """Settings of the whole process that another bench may have changed."""
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.precision)

    def warm_up(self, both: bool = False) -> None:
        """The first step, which compiles and fills caches; of `both` sizes of batch, as an epoch's last one is short."""
        self.settle()
        began = time.perf_counter()
        for first in (0, self.trainer.steps_per_epoch - 1)[: 1 + both]:
            with closing(self.trainer.windows(0, first)) as coming:  # type: ignore[type-var]
                for window in coming:
                    if window:
                        self.trainer.train_step(window)
                        break
        self._wait()
        self.slow = time.perf_counter() - began > SLOW and not both

    def load(self, seconds: float) -> Turn:
        """The loader alone."""
        return self._turn(seconds, windows(self.trainer), lambda window: None)

    def prepare(self, seconds: float) -> Turn:
        """Moving to the device and normalising, over and over the same batch."""
        self._keep_one()
        return self._turn(seconds, _forever(self._raw), lambda window: [self._prepare(batch) for batch in window])

    def compute(self, seconds: float) -> Turn:
        """The model alone: forward, backward and the optimizer's step on a batch that lies ready on the device."""
        self._keep_one()
        self.trainer.prepare = lambda batch: batch
        try:
            return self._turn(seconds, _forever(self._ready), self.trainer.train_step)
        finally:
            self.trainer.prepare = self._prepare

    def train(self, seconds: float) -> Turn:
        """All of it, as it is trained."""
        return self._turn(seconds, windows(self.trainer), self.trainer.train_step)

    def evaluate(self, seconds: float) -> Turn:
        """Evaluation, its loader and its counting included; a step is a batch here."""
        score = self.score
        assert score is not None, "there is nothing to evaluate"
        turn = self._turn(seconds, _forever([]), lambda window: score())
        return Turn(turn.seconds, turn.steps * self.batches, turn.steps * self.samples)

    def _turn(self, seconds: float, coming: Iterator[list[Batch]], work: Callable[[list[Batch]], Any]) -> Turn:
        """Works for at least `seconds`, at least one step; the first step, which starts threads and workers, is not timed
        (unless steps are slow)."""
        self.settle()
        steps, samples, waited = 0, 0, 0.0
        with closing(coming):  # type: ignore[type-var]
            if not self.slow:
                work(next(coming))
            self._wait()
            now = began = time.perf_counter()
            while not steps or now - began < seconds:
                window = next(coming)
                waited += time.perf_counter() - now
                work(window)
                steps, samples = steps + 1, samples + sum(len(batch["index"]) for batch in window)
                if steps & (steps - 1) == 0:
                    self._wait()  # a GPU's steps are only asked for: now and then the clock has to see them done
                now = time.perf_counter()
            self._wait()
        return Turn(time.perf_counter() - began, steps, samples, waited)

    def _keep_one(self) -> None:
        """A step's batches in memory of their own: those of the loader are valid for one step."""
        if not self._raw:
            with closing(windows(self.trainer)) as coming:  # type: ignore[type-var]
                self._raw = _own(next(window for window in coming if window))
            self._ready = _own(self._prepare(batch) for batch in self._raw)

    def _wait(self) -> None:
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize(self.trainer.device)


def take_turns(works: Sequence[Work], seconds: float, *, turns: int, until: float, least: int = 2) -> list[list[Turn]]:
    """The turns of each of `works`, in turn and every other time backwards, which evens out a drift.

    Args:
        seconds: of one turn.
        turns: of each at most.
        until: when there are no more, by time.monotonic(), once each had `least`.
    """
    taken: list[list[Turn]] = [[] for _ in works]
    order = list(zip(works, taken, strict=True))
    for number in range(turns):
        if number >= least and time.monotonic() > until:
            break
        for work, done in order if number % 2 == 0 else reversed(order):
            done.append(work(seconds))
    return taken


def _forever(window: list[Batch]) -> Iterator[list[Batch]]:
    while True:
        yield window


def _own(batches: Iterable[Batch]) -> list[Batch]:
    return [{k: v.clone() if isinstance(v, Tensor) else v for k, v in batch.items()} for batch in batches]
