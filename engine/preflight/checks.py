"""The preflight: what a long run would stumble over, found in under a minute. It changes nothing and keeps nothing."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from data.dataset import Dataset
from engine import distributed
from engine.analysis.borrow import borrowed, snapshot, step_losses, windows
from engine.blame import blame, report
from engine.checkpoint import CheckpointWriter, load_checkpoint
from engine.preflight.costs import Costs, weigh_memory
from engine.preflight.data import histogram, look_at_batch
from engine.preflight.table import Finding
from engine.sharding import whole
from engine.task import Batch
from engine.trainer import Loader, Trainer
from utils.errors import RunFailed, UserError

LOG = logging.getLogger("fieldbook.preflight")

MOST_STEPS = 30  # on one batch, at each rate
FALL = 0.2  # share of its first value that the loss of that batch has to lose
FACTORS = (1.0, 0.1, 0.01, 10.0, 100.0)  # of the run's peak rate, tried in this order until one makes the loss fall
SECONDS = 15.0  # for all of these steps; a step that takes longer than that is not judged


@dataclass
class Scorer:
    """Evaluation of the first batches of a split.

    Attributes:
        score: () -> scores by bare name.
        samples: how many it looks at.
        share: how often the whole split is as large.
        times: how often the run evaluates the whole split.
    """

    score: Callable[[], dict[str, float]]
    samples: int
    share: float
    times: int


class Preflight:
    """Checks a trainer that is ready to train, its hooks included; its state is put back afterwards.

    Args:
        data: split -> its loader and data set.
        scorers: split -> evaluation of its first batches.
        scratch: a temporary folder, for one checkpoint.
        disk: the folder that checkpoints of the run would lie in (or in a folder that does not exist yet).
        files, writes: checkpoint files that the run keeps at most, and how often it writes one.
    """

    def __init__(
        self,
        trainer: Trainer,
        *,
        data: Mapping[str, tuple[Loader, Dataset]],
        scorers: Mapping[str, Scorer],
        scratch: Path,
        disk: Path,
        files: int,
        writes: int,
    ) -> None:
        self.trainer, self.data, self.scorers = trainer, data, scorers
        self.scratch, self.disk, self.files, self.writes = scratch, disk, files, writes
        self.costs = Costs()
        self._said: set[str] = set()
        self._raised = False

    def run(self) -> list[Finding]:
        """All checks in order. What a check raises is its finding; of several ranks, it ends them all.

        Raises:
            UserError: something that the user set does not fit.
        """
        checks: dict[str, Callable[[], list[Finding]]] = {
            **{split: lambda split=split: self.look(split) for split in self.data},  # type: ignore[misc]
            "learns": self.learn,
            "tail": self.try_tail,
            "resumes": self.save_and_load,
            **{f"{split} scores": lambda split=split: self.evaluate(split) for split in self.scorers},  # type: ignore[misc]
            "speed": lambda: self.costs.compare_rates(self.trainer),
            "memory": lambda: weigh_memory(self.trainer.device),
            "disk": lambda: self.costs.weigh_disk(self.disk, self.files),
            # a run that some check could not go through has no end to tell of
            "end": lambda: [] if self._raised else self.costs.predict_end(self.trainer, self.writes),
        }
        findings: list[Finding] = []
        with borrowed(self.trainer):
            for name, check in checks.items():
                findings += self._guarded(name, check)
        return findings

    def look(self, split: str) -> list[Finding]:
        """One batch of a split, as it comes and normalised, and the spread of its targets."""
        loader, dataset = self.data[split]
        loader.set_position(0, 0)
        raw = next((batch for batch in loader if len(batch["index"])), None)
        if raw is None:
            return [Finding(split, "wrong", "its loader gave no sample", "see the warnings above")]
        return histogram(split, dataset) + look_at_batch(split, raw, self.trainer.prepare(raw), dataset)

    def learn(self) -> list[Finding]:
        """The run's own step, again and again on its first samples: their loss has to fall by FALL."""
        peak = peak_rate(self.trainer.schedule, self.trainer.total_steps)
        window, deadline = next(windows(self.trainer)), time.monotonic() + SECONDS
        tried: list[str] = []
        for factor in FACTORS:
            if tried and not distributed.broadcast(time.monotonic() < deadline):
                break
            with borrowed(self.trainer):
                losses = self._overfit(window, factor * peak, deadline)
            if not losses:
                return [Finding("learns", "note", "not judged: this trainer's step logs no loss")]
            if len(losses) < 3 and math.isfinite(losses[-1]):
                if tried:
                    break
                return [Finding("learns", "note", f"not judged: {len(losses)} steps took {SECONDS:g} s")]
            tried.append(f"{losses[0]:.4g} -> {losses[-1]:.4g} in {len(losses)} steps at rate {factor * peak:.3g}")
            if falls(losses):
                return [self._learnt(factor, tried)]
        remedy = "look at targets and loss; configs/debug/overfit_one_batch.yml shows it on a longer run"
        if all("nan" in text or "inf" in text for text in tried):
            remedy = "lower SOLVER.BASE_LR by orders of magnitude, or look for what is not finite in data, model and loss"
        said = f"the loss of one batch does not fall by {FALL:.0%} at any of these rates: {'; '.join(tried)}"
        return [Finding("learns", "wrong", said, remedy)]

    def try_tail(self) -> list[Finding]:
        """One step on the last, short batch of an epoch: what does not fit there fails after hours otherwise."""
        trainer = self.trainer
        if trainer.steps_per_epoch < 2 or trainer.total_steps < trainer.steps_per_epoch:
            return []
        window = next(windows(trainer, trainer.steps_per_epoch - 1))
        count = sum(len(batch["index"]) for batch in window)
        with borrowed(self.trainer):
            loss = step_losses(trainer, window).get("loss", 0.0)
        if not math.isfinite(loss):
            return [Finding("tail", "wrong", f"the loss of the epoch's last {count} samples is {loss}")]
        return [Finding("tail", "ok", f"the last step of an epoch fits too ({count} samples on rank {trainer.rank})")]

    def save_and_load(self) -> list[Finding]:
        """A step, a checkpoint through the writer of the run, another step, and back: all registered state is as it was."""
        trainer, window = self.trainer, next(windows(self.trainer))
        with borrowed(self.trainer):
            trainer.train_step(window)
            saved = loaded = snapshot(whole(trainer.state_dict()))
            if distributed.is_main():
                start = time.perf_counter()
                CheckpointWriter(self.scratch).write("last.pt", {**saved, "meta": {}}, step=1)
                self.costs.write = time.perf_counter() - start
                self.costs.bytes = (self.scratch / "last.pt").stat().st_size
                loaded = load_checkpoint(self.scratch / "last.pt")
            trainer.train_step(window)
            trainer.load_state_dict(snapshot(loaded))
            different = difference(saved, loaded) or difference(saved, whole(trainer.state_dict()))
        if different:
            remedy = "its state_dict and load_state_dict have to give back equal values"
            return [Finding("resumes", "wrong", f"save -> load changes {different}", remedy)]
        parts = ", ".join(name for name in saved if name != "progress")
        return [Finding("resumes", "ok", f"save -> load gives equal state: {parts}")]

    def evaluate(self, split: str) -> list[Finding]:
        """The evaluator on a few batches, with averaged weights where the run evaluates those."""
        scorer, trainer = self.scorers[split], self.trainer
        with trainer.ema.swap() if trainer.ema is not None else nullcontext():
            for _ in range(2):
                start = time.perf_counter()
                scores = scorer.score()
                seconds = time.perf_counter() - start
                if distributed.broadcast(seconds > 2.0):
                    break  # else the first time is mostly that of starting up
        self.costs.evaluation += seconds * scorer.share * scorer.times
        shown = "  ".join(f"{name} {value:.4g}" for name, value in scores.items())
        bad = [name for name, value in scores.items() if not math.isfinite(value)]
        what = f"{split} scores"
        if bad:
            remedy = "look at the evaluator and the loss in evaluation mode"
            return [Finding(what, "wrong", f"not finite: {', '.join(bad)} ({shown})", remedy)]
        return [Finding(what, "ok", f"before training, {scorer.samples} samples: {shown}")]

    def _overfit(self, window: list[Batch], rate: float, deadline: float) -> list[float]:
        """Losses of one batch over steps at a constant rate; the last one is not finite where it diverged."""
        trainer = self.trainer
        losses: list[float] = []
        for _ in range(MOST_STEPS):
            start = time.perf_counter()
            named = step_losses(trainer, window, rate)
            if len(losses) >= 2:  # the first ones warm up
                self.costs.steps.append(time.perf_counter() - start)
            if not named:
                break
            losses.append(named.get("loss", 0.0))
            enough = len(losses) >= 5 and falls(losses)
            if not math.isfinite(losses[-1]) or distributed.broadcast(enough or time.monotonic() > deadline):
                break
        return losses

    def _learnt(self, factor: float, tried: list[str]) -> Finding:
        said = f"one batch overfitted: loss {tried[-1]}"
        if factor == 1.0:
            return Finding("learns", "ok", said)
        small = factor > 1
        remedy = "a higher SOLVER.BASE_LR may do" if small else "lower SOLVER.BASE_LR, or give it SOLVER.WARMUP_ITERS"
        text = f"{said}, but at {factor:g} x the peak rate only ({'; '.join(tried[:-1])})"
        return Finding("learns", "note", text, f"{remedy}; `tools/analyze.py lr-find` looks for one")

    def _guarded(self, name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
        try:
            return check()
        except UserError:
            raise
        except Exception as error:
            if distributed.world_size() > 1:
                raise  # the other ranks wait in the middle of this check
            self._raised = True
            if isinstance(error, RunFailed):
                return [Finding(name, "wrong", str(error))]
            said = blame(error)
            if said in self._said:
                return [Finding(name, "wrong", f"the same: {said.partition(': ')[0]}")]
            self._said.add(said)
            LOG.exception("%s", report(error))
            return [Finding(name, "wrong", said, "the traceback stands above the table")]


def falls(losses: list[float]) -> bool:
    """Whether the mean of the last three (after the first) is lower than the first by FALL; a loss near 0 need not."""
    first, last = losses[0], losses[1:][-3:]
    if not last or not all(map(math.isfinite, losses)):
        return False
    return abs(first) < 1e-3 or statistics.mean(last) <= first - FALL * abs(first)


def peak_rate(schedule: Callable[[int], float], total_steps: int) -> float:
    """The greatest rate of a run, from at most about 1000 of its steps."""
    return max(schedule(step) for step in range(0, max(total_steps, 1), max(total_steps // 1000, 1)))


def difference(a: Any, b: Any, path: str = "") -> str:
    """Where two states first differ, as a dotted path; "" where all of `a` stands in `b`, bit by bit."""
    if isinstance(a, dict):
        inner = [(f"{path}.{key}".lstrip("."), a[key], b.get(key) if isinstance(b, dict) else None) for key in a]
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        inner = [(f"{path}.{number}", x, y) for number, (x, y) in enumerate(zip(a, b, strict=True))]
    elif isinstance(a, Tensor):
        if not isinstance(b, Tensor) or a.shape != b.shape or a.dtype != b.dtype:
            return path
        return "" if ((a.cpu() == b.cpu()) | (a.cpu() != a.cpu())).all() else path  # NaN differs from itself
    else:
        return "" if a == b or a != a and b != b else path
    return next((found for name, x, y in inner if (found := difference(x, y, name))), "")
