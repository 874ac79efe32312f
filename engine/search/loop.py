"""The loop of a sweep: which run is next, what the running ones say, what came of each point."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from engine.search.outcome import TrialRun, find_runs, is_living
from engine.search.plan import Sweep
from engine.search.process import TrialProcess, import_also
from engine.search.sharing import alone, is_orphan, sign
from engine.search.spec import Dimension, described
from engine.search.study import sampler, suggest
from tracking.wording import number as short
from utils import interrupts
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.search")
TICK = 0.2  # seconds between two looks for signals and ended processes
HOPELESS = 3  # points refused one after the other, before any run began, that end a sweep
ORPHAN_WAIT = 10.0  # seconds for the trial of a sweep that was killed to end
SAID = 120  # characters of a reason on the screen; the run's log has all of it
LEARNT = ("diverged", "out of memory")  # outcomes that speak against a point, not against the machine or the code


@dataclass(eq=False)
class Point:
    """A point that is being tried: Optuna's trial, and its runs."""

    trial: Any
    params: dict[str, Any]
    runs: list[TrialRun]
    asked: float = field(default_factory=time.monotonic)

    @property
    def number(self) -> int:
        """Optuna's, from 0."""
        return int(self.trial.number)

    def problem(self) -> TrialRun | None:
        """The run that speaks against the point; the others are then not begun."""
        return next((run for run in self.runs if run.outcome not in ("", "finished")), None)


class Loop:
    """Runs a sweep to its end.

    Args:
        start: (words, log, slot) -> the process of a trial.

    Attributes:
        overheads: seconds of each run that were the sweep's own: choosing, forking, noting.
    """

    def __init__(
        self,
        sweep: Sweep,
        study: Any,
        dimensions: Sequence[Dimension],
        start: Callable[[list[str], Path, int], TrialProcess],
    ) -> None:
        self.sweep, self.study, self.dimensions, self.start = sweep, study, dimensions, start
        self.folder = Path(sweep.folder)
        self.points: list[Point] = []
        self.running: dict[int, tuple[Point, TrialRun, TrialProcess]] = {}
        self.overheads: list[float] = []
        self.began = False  # whether any run of this sweep ever did
        self.title = ""  # said when the first one does
        self.refused = 0  # points, before any run began
        self.stopping = 0

    def run(self, limit: int) -> int:
        """Tries points until there are `limit`, or the first HOPELESS were all refused, because the recipe or the search is
        wrong; the number of the signal that ended it, or 0."""
        try:
            return self._until(limit)
        finally:
            for _, _, process in self.running.values():
                process.stop()

    def _until(self, limit: int) -> int:
        self._adopt()
        while True:
            while (
                not self.stopping
                and self.refused < HOPELESS
                and len(self.running) < self.sweep.jobs
                and (found := self._next(limit))
            ):
                self._begin(*found)
            if not self.running and (self.stopping or self.refused >= HOPELESS or not self._adopt()):
                return self.stopping
            links = {process.link: slot for slot, (_, _, process) in self.running.items()}
            for link in wait([*links, *(p.process.sentinel for _, _, p in self.running.values())], timeout=TICK):
                if link in links:
                    self._take_message(links[link])
            for slot in [slot for slot, (_, _, process) in self.running.items() if process.ended()]:
                self._end(slot)
            if interrupts.received() and not self.stopping:
                self.stopping = interrupts.received()
                LOG.info("stopping: %d trials save and end; a second signal ends them at once", len(self.running))
                for _, _, process in self.running.values():
                    process.stop()

    def _next(self, limit: int) -> tuple[Point, TrialRun] | None:
        """A run of a point that is open; else of a new one. Where points are pruned, the first run of one decides on the
        others."""
        busy = [run for _, run, _ in self.running.values()]
        for point in self.points:
            waiting = [run for run in point.runs if not run.outcome and run not in busy]
            if self.sweep.pruner != "none" and point.runs[0] in busy:
                continue
            if waiting and point.problem() is None:
                return point, waiting[0]
        asked = time.monotonic()
        with alone(self.sweep):
            if len(self.study.get_trials(deepcopy=False)) >= limit:
                return None
            trial = self.study.ask()
            sign(trial)
        point = Point(trial, self._suggested(trial), self._fresh_runs(), asked)
        self.points.append(point)
        return point, point.runs[0]

    def _fresh_runs(self) -> list[TrialRun]:
        return [TrialRun(seed, fold) for seed, fold in self.sweep.runs()]

    def _suggested(self, trial: Any) -> dict[str, Any]:
        self.study.sampler = sampler(self.sweep, trial.number, self.dimensions)
        return suggest(trial, self.dimensions)

    def _adopt(self) -> int:
        """Takes over the points that a process which is gone had begun, with what it made of their runs; how many."""
        from optuna.trial import Trial

        adopted = []
        with alone(self.sweep):
            for frozen in self.study.get_trials(deepcopy=False):
                self.began = self.began or any(run["run"] for run in frozen.user_attrs.get("runs", []))
                if frozen.state.name != "RUNNING":
                    continue
                known = find_runs(self.folder, self.sweep.tag(frozen.number), frozen.datetime_start)
                if self.sweep.storage and not is_orphan(frozen, self.folder, list(known.values())):
                    continue
                trial = Trial(self.study, frozen._trial_id)
                sign(trial)
                adopted.append((trial, known))
        for trial, known in adopted:
            self._take_over(trial, known)
        return len(adopted)

    def _take_over(self, trial: Any, known: dict[tuple[int, int], str]) -> None:
        """A point that is this process's from now on. `known`: (seed, fold) -> the id of a run that it has."""
        point = Point(trial, self._suggested(trial), self._fresh_runs())
        for run in point.runs:
            run.run = known.get((run.seed, run.fold), "")
            if run.run:
                self.began = True
                self._await_end(run.run)
                run.read(self.folder)
        self.points.append(point)
        if point.problem() or all(run.outcome for run in point.runs):
            self._conclude(point)

    def _await_end(self, run: str) -> None:
        """The run of a sweep that was killed is killed with it; that takes a moment."""
        until = time.monotonic() + ORPHAN_WAIT
        while is_living(self.folder, run):
            if time.monotonic() > until:
                raise UserError(f"the trial {run} is still running; stop it, then resume the sweep")
            time.sleep(TICK)

    def _begin(self, point: Point, run: TrialRun) -> None:
        """Starts a run, or goes on with the one that was interrupted."""
        words = self.sweep.command(point.number, point.params, run.seed, run.fold)
        if run.run:
            words = [f"--resume={run.run}", f"--output-dir={self.sweep.folder}"]
            LOG.info("point %d goes on with %s", point.number, run.run)
        slot = next(slot for slot in range(self.sweep.jobs) if slot not in self.running)
        log = self.sweep.path / "trials" / f"point-{point.number}-seed-{run.seed}-fold-{run.fold}.txt"
        self.running[slot] = (point, run, self.start(words, log, slot))

    def _take_message(self, slot: int) -> bool:
        """One message of a trial, answered where it asks; whether there was one."""
        point, run, process = self.running[slot]
        try:
            kind, *facts = process.link.recv()
        except (EOFError, OSError):
            return False
        if kind == "entered":
            process.work_began = facts[0]
        elif kind == "left":
            process.work_ended, process.imported = facts
        elif kind == "began":
            run.run, self.began = facts[0], True
            self._log_title()
        else:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # killed meanwhile: its end is seen by itself
                process.link.send(self._reason_to_prune(point, run, *facts))
        return True

    def _reason_to_prune(self, point: Point, run: TrialRun, epoch: int, score: float) -> str:
        """Why a trial is to end after an epoch, or "". The first run of a point stands for it."""
        if self.sweep.pruner == "none" or run is not point.runs[0] or not math.isfinite(score):
            return ""
        if epoch not in self.study._storage.get_trial(point.trial._trial_id).intermediate_values:
            point.trial.report(score, epoch)
        return f"{self.sweep.pruner}: behind other points after epoch {epoch}" if point.trial.should_prune() else ""

    def _end(self, slot: int) -> None:
        """The process of a run is over."""
        while self.running[slot][2].link.poll() and self._take_message(slot):
            pass
        point, run, process = self.running.pop(slot)
        process.process.join()
        code = process.process.exitcode
        said = process.log.read_text(encoding="utf-8", errors="replace") if process.log.is_file() else ""
        if self.stopping and code != 0:
            return  # the point stays open, and a resumed sweep goes on with its run
        run.end(self.folder, code, said)
        if run.outcome in ("finished", "pruned"):
            process.log.unlink(missing_ok=True)  # the run's own log.txt says the same
        self._log_outcome(point, run)
        if point.problem() is not None or all(other.outcome for other in point.runs):
            self._conclude(point)
        if process.work_ended:
            self.overheads.append(process.work_began - point.asked + time.monotonic() - process.work_ended)
        import_also(process.imported)
        point.asked = time.monotonic()

    def _log_title(self) -> None:
        if self.title:
            LOG.info("%s", self.title)
        self.title = ""

    def _log_outcome(self, point: Point, run: TrialRun) -> None:
        if not self.began:
            return  # all may be refused, which is then one error
        self._log_title()
        which = f"seed {run.seed}" + (f" fold {run.fold}" if self.sweep.folds else "")
        score = f"{run.metric} {short(run.value)}" if run.value is not None else ""
        why = run.reason[:SAID] + "..." * (len(run.reason) > SAID)
        what = score if run.outcome == "finished" else why if run.outcome == "pruned" else f"{run.outcome}: {why}"
        LOG.info("point %d  %s  %s  (%s)  %.1f s", point.number, which, what, described(point.params), run.seconds)

    def _conclude(self, point: Point) -> None:
        """Tells Optuna what came of a point whose runs are over; those still going are waited for."""
        if any(other is point for other, _, _ in self.running.values()):
            return
        from optuna.trial import TrialState

        self.points.remove(point)
        bad, scores = point.problem(), [run.score for run in point.runs if run.score is not None]
        point.trial.set_user_attr("runs", [asdict(run) for run in point.runs if run.outcome])
        if bad is None:
            self.study.tell(point.trial, math.fsum(scores) / len(scores))
            return
        # What is told as pruned teaches the sampler to keep away; what failed for other reasons teaches nothing.
        state = TrialState.PRUNED if bad.outcome in ("pruned", *LEARNT) else TrialState.FAIL
        self.study.tell(point.trial, state=state)
        if bad.outcome == "refused" and not self.began:
            self.refused += 1
