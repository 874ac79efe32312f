"""Kills: runs that are killed and resumed until they end, and runs that are stopped somehow and must end bit-equal.

After a kill the newest whole checkpoint is looked up on disk. The next life must start, say that it goes on exactly there,
and is the next victim. A run is lost when a life does not start, goes on from elsewhere, or does not end like one that was
never killed.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import reliability_forks as forks
from benchmarks import reliability_runs as runs
from benchmarks.reliability_forks import Ended, Moment

RESUMED = r"resumed at epoch (\d+), step (\d+)"
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Tally:
    """One line of the table."""

    name: str
    injected: int = 0
    survived: int = 0
    lost: int = 0  # runs
    compared: int = 0  # ends
    unequal: int = 0  # of them
    differing: int = 0  # bytes
    torn: int = 0  # kills that left a checkpoint which cannot be read
    work: int = 0  # most steps that one kill cost
    complaints: list[str] = field(default_factory=list)

    def complain(self, text: str) -> None:
        """Remembers what went wrong."""
        self.complaints.append(text)
        print(f"  {self.name}: {text}", file=sys.stderr, flush=True)


@dataclass
class Whole:
    """A run that was never stopped, and how long its parts took."""

    path: Path
    seconds: float
    calls: int
    save_seconds: float


class Victims:
    """Chains of lives in one folder."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.whole: dict[str, Whole] = {}

    def reference(self, variant: str) -> Whole:
        """The uninterrupted run of a variant; made once."""
        if variant not in self.whole:
            folder = self.folder / f"whole{len(self.whole)}"
            ended = forks.run(runs.tool(runs.start_words(variant, folder)))
            run = runs.only_run(folder)
            assert ended.code == 0 and run is not None, f"{variant}: exit code {ended.code}\n{ended.log}"
            self.whole[variant] = Whole(run, ended.seconds, ended.calls, sum(ended.saves) / max(len(ended.saves), 1))
        return self.whole[variant]

    def kill(self, variant: str, moments: Iterator[Moment], count: int, tally: Tally) -> None:
        """`count` kills, in as many runs as it takes; each run is then resumed to its end and compared."""
        whole, left = self.reference(variant), count
        while left > 0:
            chain = Chain(self.folder / "chain", variant, tally)
            while left > 0 and not chain.over:
                left -= chain.live(next(moments))
            while not chain.over:
                chain.live(forks.NEVER)
            chain.judge(whole)

    def by_clock(self, variant: str) -> Iterator[Moment]:
        """Any moment of a life, from its birth on."""
        while True:
            yield Moment("time", at=self.rng.uniform(0.0, self.reference(variant).seconds))

    def in_saves(self, variant: str) -> Iterator[Moment]:
        """Moments within one of the next saves and just after it."""
        while True:
            window = 3 * self.reference(variant).save_seconds
            yield Moment("save", at=self.rng.uniform(0.0, window), count=self.rng.randint(1, 4))

    def at_calls(self, variant: str) -> Iterator[Moment]:
        """Before each file-system call of an epoch's saves, one after the other, and over again."""
        while True:
            for number in range(1, self.calls_of_an_epoch(variant) + 1):
                yield Moment("call", count=number)

    def calls_of_an_epoch(self, variant: str) -> int:
        """File-system calls of an epoch's saves."""
        return max(1, -(-self.reference(variant).calls // runs.EPOCHS))


class Chain:
    """A run and its lives."""

    def __init__(self, folder: Path, variant: str, tally: Tally) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.variant, self.tally = folder, variant, tally
        self.over = self.lost = False
        self.known = 0  # step of the newest whole checkpoint seen so far
        self.unproved = 0  # kills that no later life has answered yet

    def live(self, moment: Moment) -> int:
        """One life; 1 if it was killed."""
        run = runs.only_run(self.folder)
        words = runs.start_words(self.variant, self.folder) if run is None else runs.resume_words(run)
        ended = forks.run(runs.tool(words), moment)
        self._check(ended, resumed=run is not None)
        if self.lost or not ended.killed:
            if ended.code == 0:
                self.over = True
            elif not self.lost:
                self._lose(f"exit code {ended.code}: {_last_words(ended)}")
            return 0
        run = runs.only_run(self.folder)
        if run is None:  # killed before there was a run: nothing to lose, and no kill of one
            return 0
        newest = runs.newest_step(run)
        self.tally.torn += runs.any_unreadable(run)
        self.tally.injected += 1
        self.unproved += 1
        if newest < self.known:
            self._lose(f"a checkpoint of step {self.known} is gone, the newest is of step {newest}")
        self.known = max(self.known, newest)
        self.tally.work = max(self.tally.work, runs.steps_done(run) - newest)
        return 1

    def _check(self, ended: Ended, *, resumed: bool) -> None:
        """Whether the life began where the last one's newest checkpoint was."""
        said = forks.last_match(RESUMED, ended.log)
        if not resumed or not said:  # a life killed before it could say so proves nothing; the next one will
            return
        if int(said[1]) != self.known:
            self._lose(f"resumed at step {said[1]}, the newest whole checkpoint is of step {self.known}")
        self.tally.survived += self.unproved
        self.unproved = 0

    def _lose(self, why: str) -> None:
        self.tally.lost += 1
        self.tally.complain(f"{self.variant}: run lost: {why}")
        self.over = self.lost = True
        self.unproved = 0

    def judge(self, whole: Whole) -> None:
        """The end beside that of the run that was never stopped."""
        run = runs.only_run(self.folder)
        if self.lost or run is None:
            return
        found = runs.compare_ends(whole.path, run)
        self.tally.survived += self.unproved  # it came to its end, whatever it said
        self.tally.compared += 1
        self.tally.unequal += found.differing > 0
        self.tally.differing += found.differing
        if found.differing:
            last = runs.load(run / "weights" / "last.pt")
            steps = f"last.pt of step {last['progress']['step'] if last else '?'}, newest {runs.newest_step(run)}"
            what = f"{found.differing} of {found.compared} bytes differ, first {found.where}; {steps}"
            self.tally.complain(f"{self.variant}: {what}")


def kill_campaign(victims: Victims, count: int, variants: list[str]) -> list[Tally]:
    """`count` kills: a third by the clock, a third within saves, a third at each call in turn."""
    clock, saves, calls = runs.spread(count, 3)
    tallies = []
    for name, moments, share in (
        ("SIGKILL at any moment", victims.by_clock, clock),
        ("SIGKILL within a save", victims.in_saves, saves),
    ):
        tallies.append(Tally(name))
        parts = variants[: max(1, min(len(variants), share // 8))]
        for variant, part in zip(parts, runs.spread(share, len(parts)), strict=True):
            victims.kill(variant, moments(variant), part, tallies[-1])
    tallies.append(Tally("SIGKILL at every file-system call of a save"))
    for variant in itertools.cycle(variants):  # a variant's calls all in turn, then the next one's
        part = min(calls, victims.calls_of_an_epoch(variant))
        victims.kill(variant, victims.at_calls(variant), part, tallies[-1])
        calls -= part
        if calls <= 0:
            return tallies
    return tallies


def resume_campaign(victims: Victims, count: int, variants: list[str]) -> Tally:
    """`count` runs, each stopped one to three times by a signal or a kill, then resumed to the end and compared.

    Every tenth is resumed by a command line of its own, as a user types it."""
    tally = Tally("stopped 1 to 3 times, resumed to the end")
    rng = victims.rng
    for number in range(count):
        variant = variants[number % len(variants)]
        whole = victims.reference(variant)
        chain = _Stopped(victims.folder / "chain", variant, tally)
        for _ in range(rng.randint(1, 3)):
            number_of_signal = rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGKILL])
            at = rng.uniform(0.2, 1.0) * whole.seconds
            while not chain.over and (factor := chain.stop(at, number_of_signal)) != 1:
                at *= factor
        while not chain.over:
            chain.finish(by_command=number % 10 == 9)
        chain.judge(whole)
    return tally


class _Stopped(Chain):
    """A run that is stopped by any signal; what it must keep is judged at its end."""

    def stop(self, at: float, number: int) -> float:
        """One life; 1 if it was stopped as a run, else by what factor to move the moment: a busy machine is slower than
        when it was measured. A run that ended first is begun anew."""
        run = runs.only_run(self.folder)
        words = runs.start_words(self.variant, self.folder) if run is None else runs.resume_words(run)
        ended = forks.run(runs.tool(words), Moment("time", at=at, signal=number))
        # Before the run has taken the signals over, they end the process as they end any.
        stopped = ended.code in (75, -number, 130, 128 + number) or "KeyboardInterrupt" in ended.log
        if ended.code == 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            return 0.7
        if not stopped:
            self._lose(f"exit code {ended.code} after {signal.Signals(number).name}: {_last_words(ended)}")
        elif runs.only_run(self.folder) is not None:
            self.tally.injected += 1
            self.unproved += 1
            return 1
        return 1.5

    def finish(self, *, by_command: bool) -> None:
        """The last life."""
        run = runs.only_run(self.folder)
        assert run is not None
        words = runs.resume_words(run)
        if by_command:
            done = subprocess.run([sys.executable, "tools/train_net.py", *words], cwd=ROOT, capture_output=True, text=True)
            ended = Ended(done.returncode, done.stderr, 0.0, struck=False)
        else:
            ended = forks.run(runs.tool(words))
        if ended.code == 0:
            self.over = True
        else:
            self._lose(f"exit code {ended.code}: {_last_words(ended)}")


def _last_words(ended: Ended) -> str:
    lines = [line for line in ended.log.splitlines() if line.strip()]
    told = [line for line in lines if "rror" in line]
    return (told or lines or ["not a word"])[-1][:200]
