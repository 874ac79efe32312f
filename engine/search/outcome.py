"""What came of a trial, as its record says."""

from __future__ import annotations

import math
import re
import signal
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.hooks.trial import PRUNED
from tracking.reading.summary import summarize
from tracking.record import read_record, state_of


@dataclass(eq=False)
class TrialRun:
    """One run of a point.

    Attributes:
        run: the id of its record; "" where there is none.
        outcome: finished, pruned, diverged, out of memory, refused or failed; "" where it has none yet.
        value: its best score, as the record has it.
        score: the same, so that more is better.
    """

    seed: int
    fold: int
    run: str = ""
    outcome: str = ""
    reason: str = ""
    value: float | None = None
    score: float | None = None
    metric: str = ""
    lower: bool = False
    seconds: float = 0.0

    def read(self, folder: Path) -> None:
        """Takes what the record of the run says, if it has ended for good."""
        row = summarize(folder / self.run)
        status, reason = row["status"], str(row["reason"])
        if status == "interrupted" and not reason.startswith(PRUNED) or status not in ("finished", "interrupted", "failed"):
            return
        self.metric, self.lower = row["primary_metric"], row["primary_metric"] in (row["lower_is_better"] or [])
        self.value, self.reason, self.seconds = row["value"], reason, row["seconds"]
        if status == "failed":
            self.outcome = _kind(reason)
        elif status == "interrupted":
            self.outcome = "pruned"
        elif self.value is None or not math.isfinite(self.value):
            self.outcome, self.reason = "diverged", f"{self.metric or 'the score'} is not finite"
        else:
            self.outcome = "finished"
        if self.outcome in ("finished", "pruned") and self.value is not None:
            self.score = -self.value if self.lower else self.value

    def end(self, folder: Path, code: int, said: str) -> None:
        """The same for a process that has ended with `code`, whatever it left.

        Args:
            said: what it printed.
        """
        if self.run:
            self.read(folder)
        if self.outcome:
            return
        errors = re.findall(r"^(?:ERROR |error: )(.*)$", said, re.MULTILINE)
        if code < 0:
            name = signal.Signals(-code).name
            killed = code == -signal.SIGKILL
            self.outcome = "out of memory" if killed else "failed"
            self.reason = f"killed by {name}" + (": the system may have run out of memory" if killed else "")
        else:
            self.outcome = "refused" if code == 2 and not self.run else "failed"
            self.reason = errors[-1] if errors else "stopped from outside" if code == 75 else f"exit code {code}"


def find_runs(folder: Path, tag: str, since: datetime | None = None) -> dict[tuple[int, int], str]:
    """(seed, fold) -> id of the newest run that was begun with a tag, not before its point was: a sweep of the same name may
    have been removed, its runs not."""
    earliest = since.replace(microsecond=0).timestamp() if since else 0.0  # a record's start is to the second
    found: dict[tuple[int, int], str] = {}
    for path in sorted(path for path in folder.glob("[!.]*") if (path / "run.json").is_file()):
        run = read_record(path).run
        if tag in run.get("tags", []) and _started(run) >= earliest:
            found[int(run.get("seed") or 0), _fold(run.get("command", []))] = path.name
    return found


def is_living(folder: Path, run: str) -> bool:
    """Whether a run's process or heartbeat is there."""
    return state_of(read_record(folder / run)) == "running"


def _started(run: dict[str, Any]) -> float:
    try:
        return datetime.fromisoformat(run["started"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


def _fold(command: list[Any]) -> int:
    return int(command[command.index("DATASETS.FOLD") + 1]) if "DATASETS.FOLD" in command else 0


def _kind(reason: str) -> str:
    if reason.startswith("out of memory"):
        return "out of memory"
    return "diverged" if "not finite" in reason else "failed"
