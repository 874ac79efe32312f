"""What a mirror is, and what it is told of a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tracking.reading.configs import read_config
from tracking.record import read_record


@dataclass(frozen=True)
class RunFacts:
    """What a run is, before its numbers.

    Attributes:
        id, path: of its folder.
        project: the name of the folder in which the folder of runs lies.
        config: dotted key -> plain value, as it is now: what resuming changed is in it.
        started: seconds since 1970.
        facts: where it comes from: git commit and branch, digests, parent, seed, host, command, folder.
    """

    id: str
    path: Path
    project: str
    name: str
    why: str
    expect: str
    notes: str
    tags: list[str]
    config: dict[str, Any]
    started: float
    facts: dict[str, str]


class Mirror:
    """A copy of one run in another tracker. The constructor takes the arguments of MIRRORS and does nothing else; the
    methods are called in this order, and may raise, hang or take as long as they like.

    Attributes:
        library: the module that must be installed; "" for none.
        link: where people see the run, known when `start` returns; "" if nowhere.
    """

    library = ""
    link = ""

    def start(self, run: RunFacts, known: str) -> str:
        """Begins; the other tracker's name of the run. `known` is what an earlier `start` of this run gave, else ""."""
        return ""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """A row of metrics.jsonl: `train/loss`, `val/top1`, ..., and `epoch` and `time` (seconds). May hold NaN."""

    def flush(self) -> None:
        """After the rows of a while: for mirrors that send many at once."""

    def figure(self, path: Path) -> None:
        """A picture of the ended run."""

    def finish(self, status: str, best: dict[str, float]) -> None:
        """The end: finished, failed, interrupted (to be resumed) or lost (killed); the best value of each score."""


def read_facts(path: Path) -> RunFacts:
    """The facts of the run in `path`, from its record."""
    record = read_record(path)
    run, git = record.run, record.run.get("git", {})
    names = ("code_digest", "tree_digest", "config_digest", "parent", "seed", "host", "started")
    facts = {f"git_{name}": str(git[name]) for name in ("commit", "branch", "dirty") if name in git}
    facts |= {name: str(run.get(name, "")) for name in names}
    facts |= {"command": " ".join(map(str, run.get("command", []))), "folder": str(path.resolve())}
    return RunFacts(
        id=record.id,
        path=path,
        project=path.resolve().parent.parent.name,
        name=record.name,
        why=record.notes.get("Why", run.get("why", "")),
        expect=record.notes.get("Expected", run.get("expect", "")),
        notes=record.notes.get("Notes", ""),
        tags=record.tags,
        config={**read_config(path), **dict(record.overrides)},
        started=_seconds(run.get("started", "")),
        facts=facts,
    )


def _seconds(moment: str) -> float:
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return 0.0
