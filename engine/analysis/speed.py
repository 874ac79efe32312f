"""Where the time of a training goes on this machine, and which one change of its config helps most: measured, not guessed."""

from __future__ import annotations

import gc
import logging
import shlex
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from engine.analysis.turns import Bench, Turn, Work, take_turns
from engine.blame import blame
from engine.memory import is_out_of_memory
from utils.errors import UserError

BASE_SHARE = 0.3  # of the seconds, for the config as it is
TURNS = 9  # of each side of a comparison at most
LONGEST, SHORTEST = 0.5, 0.05  # seconds of a turn
CLEAR = 1.05  # a gain below it is not worth a key
WHOLE = 1.3  # times the whole step that a part of it may take before the numbers are nonsense
WILD = 4.0  # times the step of the quickest turn that a quarter of the turns may not exceed
FEWEST = 8  # steps that trying a change takes at least
COMPILING = 10.0  # seconds that must be left before something is compiled, which is not broken off


@dataclass(frozen=True)
class Change:
    """One thing to try.

    Attributes:
        pairs: keys and values, as they stand on the command line.
        effect: what else it changes.
        same: whether the training learns the same, but for rounding; such changes are preferred.
        threads: OMP_NUM_THREADS, for a change that is no key; 0: none.
        compiles: whether its first steps compile something, which takes long.
    """

    pairs: tuple[tuple[str, str], ...]
    effect: str
    same: bool = True
    threads: int = 0
    compiles: bool = False

    @property
    def words(self) -> list[str]:
        """Each pair as it is typed; what is no key goes before the command."""
        return [f"{key} {shlex.quote(value)}" for key, value in self.pairs] or [f"OMP_NUM_THREADS={self.threads}"]

    @property
    def text(self) -> str:
        """All of it in one line."""
        return " ".join(self.words)


@dataclass
class Trial:
    """What came of a change.

    Attributes:
        gains: samples a second over those of the config as it is, of each pair of turns.
        rate: samples a second.
        warm_up: seconds until its first steps were made: what compiling takes.
        pays: steps after which that is made good; 0: never, or nothing to make good.
        failed: why there are no numbers, in one line.
        tried: False where there was no time for it.
    """

    change: Change
    gains: list[float] = field(default_factory=list)
    rate: float = 0.0
    warm_up: float = 0.0
    pays: int = 0
    failed: str = ""
    tried: bool = True

    @property
    def gain(self) -> float:
        """The median; 0 where there are no numbers."""
        return statistics.median(self.gains) if self.gains else 0.0

    @property
    def helps(self) -> bool:
        """Whether it is clearly faster: by CLEAR, and in three quarters of the turns faster at all."""
        return self.gain >= CLEAR and sum(gain > 1 for gain in self.gains) >= 0.75 * len(self.gains)


@dataclass
class Speed:
    """All that was measured; `times` has load, prepare, compute, train and, where there is a split for it, evaluate."""

    times: dict[str, list[Turn]]
    trials: list[Trial] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def step(self, name: str) -> float:
        """Median seconds of a step (of a batch, for evaluate)."""
        return statistics.median(turn.step for turn in self.times[name])

    def rate(self, name: str) -> float:
        """Median samples a second."""
        return statistics.median(turn.rate for turn in self.times[name])

    @property
    def waiting(self) -> float:
        """Share of the training that waits for data."""
        return statistics.median(turn.waited / turn.seconds for turn in self.times["train"])

    @property
    def limit(self) -> str:
        """What takes longer alone: "loader" or "model"."""
        return "loader" if self.step("load") > self.step("compute") else "model"

    @property
    def doubt(self) -> str:
        """Why these numbers are not to be believed, or ""."""
        whole, part = self.step("train"), max(self.step("compute"), self.step("prepare"))
        steps = sorted(turn.step for turn in self.times["train"])
        if part > WHOLE * whole:
            return f"a part of a step took {part / whole:.1f} times as long as all of it"
        if steps[len(steps) * 3 // 4] > WILD * steps[0]:
            return f"a step took from {1e3 * steps[0]:.3g} to {1e3 * steps[-1]:.3g} ms"
        return ""

    def best(self, *, same: bool) -> Trial | None:
        """The change that helps most, of those that learn the same or of the others."""
        helping = [trial for trial in self.trials if trial.helps and trial.change.same == same]
        return max(helping, key=lambda trial: trial.gain, default=None)

    def verdict(self) -> str:
        """The last line."""
        if self.doubt:
            return f"cannot tell: {self.doubt}; end what else runs here, or compute with fewer threads (OMP_NUM_THREADS=1)"
        best, other = self.best(same=True), self.best(same=False)
        more = other is not None and (best is None or other.gain > 1.1 * best.gain)
        said = ""
        if best is not None:
            said = f"best: {best.change.text}, {best.gain:.2f} x the images/s ({best.change.effect})"
        if more and other is not None:
            start = f"{said}; more still" if said else "best"
            said = f"{start}: {other.change.text}, {other.gain:.2f} x, but {other.change.effect}"
        if said:
            return f"{said}. Set it and ask again: what helps beside it may be another"
        if any(trial.tried for trial in self.trials):
            return f"nothing that was tried helps: the {self.limit} is the limit"
        return f"nothing was tried: the {self.limit} is the limit"

    def not_tried(self) -> list[str]:
        """What was not, each with why."""
        late = ", ".join(trial.change.text for trial in self.trials if not trial.tried)
        return [*self.left_out, *([f"{late} (no time was left; raise --seconds)"] if late else [])]


def measure(bench: Bench, seconds: float) -> Speed:
    """The parts of a training as it is, in turns over `seconds`."""
    began = time.monotonic()
    bench.warm_up()
    works: dict[str, Work] = {"load": bench.load, "prepare": bench.prepare, "compute": bench.compute, "train": bench.train}
    if bench.score is not None:
        works["evaluate"] = bench.evaluate
    left = seconds - (time.monotonic() - began)
    turns = take_turns(list(works.values()), _turn_of(left, 5 * len(works)), turns=TURNS, until=began + seconds, least=1)
    return Speed(dict(zip(works, turns, strict=True)))


def try_changes(
    base: Bench,
    changes: Sequence[Change],
    build: Callable[[Change], Bench],
    *,
    until: float,
    step: float,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Trial]:
    """Each change against the config as it is, one after another; what helps most comes first, failures last.

    Args:
        build: makes a bench of the config with that change; whatever it raises is the trial's result.
        until: when it should be over, by time.monotonic(). What is being tried then is tried to its end.
        step: seconds of a step as it is.
        tell: is told what is tried next.
    """
    trials = []
    for number, change in enumerate(changes):
        left = until - time.monotonic()
        if left < (COMPILING if change.compiles else max(FEWEST * step, 0.2)):
            trials.append(Trial(change, tried=False))
            continue
        tell(f"{change.text} ({number + 1} of {len(changes)})")
        rest = sum(4 if other.compiles else 1 for other in changes[number:])
        trials.append(_try(base, change, build, left if change.compiles else left / rest, step))
    return sorted(trials, key=lambda trial: (not trial.helps, -trial.gain))


def _try(base: Bench, change: Change, build: Callable[[Change], Bench], seconds: float, step: float) -> Trial:
    began = time.monotonic()
    base.settle()
    trial = Trial(change)
    try:
        with _quiet():
            bench = build(change)
            built = time.monotonic()  # data and model are made in any training, compiled or not
            bench.warm_up(both=change.compiles)
            trial.warm_up = time.monotonic() - built
            until = time.monotonic() + max(seconds - (time.monotonic() - began), 0)
            length = _turn_of(until - time.monotonic(), 12)
            pairs = take_turns([base.train, bench.train], length, turns=3, until=until, least=3)
            if any(ours.rate > 0.8 * theirs.rate for theirs, ours in zip(*pairs, strict=True)):  # else it is clear by now
                more = take_turns([base.train, bench.train], length, turns=TURNS - 3, until=until, least=0)
                pairs = [before + after for before, after in zip(pairs, more, strict=True)]
    except Exception as error:
        trial.failed = _reason(error)
    else:
        trial.gains = [ours.rate / theirs.rate for theirs, ours in zip(*pairs, strict=True)]
        trial.rate = statistics.median(turn.rate for turn in pairs[1])
        if change.compiles and trial.gain > 1:
            trial.pays = round(trial.warm_up / (statistics.median(turn.step for turn in pairs[0]) * (1 - 1 / trial.gain)))
    finally:
        bench = None  # type: ignore[assignment]
        _clear(change.compiles)
        base.settle()
    return trial


def _turn_of(seconds: float, turns: int) -> float:
    """The length of a turn where there is time for so many; starting them takes a part of it."""
    return min(max(0.7 * seconds / turns, SHORTEST), LONGEST)


def _reason(error: Exception) -> str:
    """Why a change failed, in one short line."""
    if is_out_of_memory(error):
        return "failed: out of memory (beside the config as it is)"
    said = str(error) if isinstance(error, UserError) else blame(error)
    return f"failed: {' '.join(said.split())[:200]}"


def _clear(compiled: bool) -> None:
    if compiled:
        torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _quiet() -> Iterator[None]:
    """What was said of the config as it is need not be said again of each change."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
