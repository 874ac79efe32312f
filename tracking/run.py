"""A run that is being made: scalars, status, heartbeat. It writes into its own folder only, and locks only that."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tracking import snapshot
from tracking.lock import RunLock
from tracking.mirrors.process import MirrorProcess, cut_mirrors, finish_mirrors, start_mirrors
from utils.files import write_atomic
from utils.redact import redact

LOG = logging.getLogger("fieldbook.tracking")
HEARTBEAT = 15.0  # seconds


def now() -> str:
    """ISO 8601 with zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


class Run:
    """The record of a living run.

    Args:
        path: its folder, already whole.
        root: the code that runs, to notice edits at the end.
        lock: that of the folder, let go at the end.
    """

    def __init__(self, path: Path, status: dict[str, Any], root: Path, code: dict[str, str], lock: RunLock) -> None:
        self.path, self.id, self.root = path, path.name, root
        self.weights_dir, self.figures_dir, self.events_dir = path / "weights", path / "figures", path / "runs"
        for folder in (self.weights_dir, self.figures_dir, self.events_dir):  # a copy of the run may have left them out
            folder.mkdir(exist_ok=True)
        self._status, self._code, self._run_lock = status, code, lock
        self._before = float(status.get("seconds", 0.0))
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._torn = False  # whether the last line of metrics.jsonl was cut off by a full disk
        self._warned: set[str] = set()
        self._mirrors: list[MirrorProcess] = []
        # Unbuffered appends of whole lines: a killed run loses at most the line it was writing.
        self._metrics = os.open(path / "metrics.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def mirror(self, entries: Sequence[Any]) -> None:
        """From here on the trackers of MIRRORS get a copy of the record, which changes nothing for the run."""
        self._mirrors = start_mirrors(self.path, entries)

    def log(self, step: int, epoch: int, scalars: dict[str, float]) -> None:
        """Appends one line to metrics.jsonl. NaN and infinities, which JSON does not have, become null."""
        row = {"step": step, "epoch": epoch, "time": round(self._before + time.monotonic() - self._started, 3)}
        plain = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
        line = ("\n" * self._torn + json.dumps({**row, **plain}) + "\n").encode()
        try:
            self._torn = os.write(self._metrics, line) < len(line)
        except OSError as error:  # a full disk must not end a training that could still be saved
            self._warn_once("metrics.jsonl: lines are lost", error)

    def update(
        self,
        *,
        progress: dict[str, int] | None = None,
        metrics: dict[str, float] | None = None,
        step: int = 0,
        primary_metric: str = "",
        lower_is_better: frozenset[str] = frozenset(),
        final: bool = False,
    ) -> None:
        """Replaces status.json.

        Args:
            progress: epoch, step, total_steps.
            metrics: full name (`val/top1`) -> value at `step`; last and best are kept.
            lower_is_better: bare names (`loss`) of which less is better.
            final: scores of the end, such as the test's: they replace earlier ones, nothing is selected by them.
        """
        with self._lock:
            self._status["progress"].update(progress or {})
            self._status["primary_metric"] = primary_metric or self._status["primary_metric"]
            for name, value in (metrics or {}).items():
                lower = name.rpartition("/")[2] in lower_is_better
                directions = self._status.setdefault("lower_is_better", [])
                if lower and name not in directions:
                    directions.append(name)
                self._note(name, value, step, lower, final)
            self._write()

    def finish(self, status: str, reason: str = "") -> None:
        """Sets the last status: finished, failed or interrupted; then says which code was edited meanwhile."""
        self._ended.set()
        with self._lock:
            self._status.update(status=status, reason=redact(reason), ended=now())
            self._write()
            changed = snapshot.edited(self.root, self._code)
            if changed:
                self._status["code_edited"] = changed
                LOG.warning("code was edited while the run was going: %s", ", ".join(sum(changed.values(), [])[:5]))
                self._write()
        os.close(self._metrics)
        finish_mirrors(self._mirrors)
        self._run_lock.release(self.path)

    def give_back(self, status: dict[str, Any]) -> None:
        """Ends a resume that could not begin: the status is again what it was, and nothing else was changed."""
        self._ended.set()
        with self._lock:
            self._status = status
            write_atomic(self.path / "status.json", json.dumps(status, indent=1) + "\n")
        os.close(self._metrics)
        self._run_lock.release(self.path)

    def cut(self, step: int) -> int:
        """Moves rows beyond `step` to metrics.cut.jsonl, so that curves never step backwards; how many those were. What
        status.json says of each metric is then of the rows that are left."""
        path = self.path / "metrics.jsonl"
        kept: list[str] = []
        cut: list[str] = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                (kept if json.loads(line)["step"] <= step else cut).append(line)
            except (ValueError, KeyError, TypeError):
                cut.append(line)
        if not cut:
            return 0
        try:
            with open(self.path / "metrics.cut.jsonl", "a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in cut)
            write_atomic(path, "".join(f"{line}\n" for line in kept))
        except OSError as error:
            self._warn_once("metrics.jsonl: later rows could not be cut", error)
            return 0
        os.close(self._metrics)
        self._metrics = os.open(path, os.O_WRONLY | os.O_APPEND)
        cut_mirrors(self.path, self._mirrors, len(kept))
        self._recount([json.loads(line) for line in kept])
        return len(cut)

    def write_test(self, result: dict[str, Any]) -> None:
        """test.json."""
        write_atomic(self.path / "test.json", json.dumps(result, indent=2) + "\n")

    def _note(self, name: str, value: float, step: int, lower: bool, final: bool) -> None:
        known = None if final else self._status["metrics"].get(name)
        finite = math.isfinite(value)
        best = known["best"] if known else None
        better = finite and (best is None or (value < best if lower else value > best))
        entry = {"last": value if finite else None, "best": value if better else best}
        entry["best_step"] = step if better else (known["best_step"] if known else None)
        self._status["metrics"][name] = entry

    def _recount(self, rows: list[dict[str, Any]]) -> None:
        """Last and best of each metric in the status, from these rows alone."""
        with self._lock:
            names, lower = list(self._status["metrics"]), self._status.get("lower_is_better", [])
            self._status["metrics"] = {}
            for row in rows:
                for name in [name for name in names if name in row]:
                    value = math.nan if row[name] is None else row[name]
                    self._note(name, value, row["step"], name in lower, final=name.startswith("test/"))
            self._write()

    def _write(self) -> None:
        self._status["seconds"] = round(self._before + time.monotonic() - self._started, 3)
        try:
            write_atomic(self.path / "status.json", json.dumps(self._status, indent=1) + "\n")
        except OSError as error:  # as above; the next one may fit
            self._warn_once("status.json: cannot be brought up to date", error)

    def _warn_once(self, what: str, error: OSError) -> None:
        if what not in self._warned:
            self._warned.add(what)
            LOG.warning("%s (%s); the training goes on", what, error.strerror or error)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            try:
                os.utime(self.path / "status.json")
            except OSError:
                continue  # a file server that is away for a while


class QuietRun:
    """The twin of `Run` on ranks other than 0: knows the folder, writes nothing."""

    def __init__(self, path: Path) -> None:
        self.path, self.id = path, path.name
        self.weights_dir, self.figures_dir, self.events_dir = path / "weights", path / "figures", path / "runs"

    def mirror(self, entries: Sequence[Any]) -> None:
        """Nothing."""

    def log(self, step: int, epoch: int, scalars: dict[str, float]) -> None:
        """Nothing."""

    def update(self, **_: Any) -> None:
        """Nothing."""

    def finish(self, status: str, reason: str = "") -> None:
        """Nothing."""

    def give_back(self, status: dict[str, Any]) -> None:
        """Nothing."""

    def cut(self, step: int) -> int:
        """Nothing."""
        return 0

    def write_test(self, result: dict[str, Any]) -> None:
        """Nothing."""
