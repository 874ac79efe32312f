"""A mirror as the training sees it: a process that follows the run's folder, with which nothing is shared.

The training never calls a mirror. It says at which row of metrics.jsonl the file goes on (after a cut) and when the run has
ended; a thread that sleeps hands on what the mirror reports. So a mirror can fail in any way, and costs a step nothing.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tracking.mirrors.build import named
from tracking.mirrors.follow import HANG
from utils.files import write_json

LOG = logging.getLogger("fieldbook.tracking")
PATIENCE = 10.0  # seconds that the end of a run waits for its mirrors, all together
_ROOT = Path(__file__).resolve().parents[2]
_START = "import sys; sys.path = [sys.argv[1], *filter(None, sys.path)]; import tracking.mirrors.follow as f"
_MAIN = "; f.main(*sys.argv[2:])"


def start_mirrors(run: Path, entries: Sequence[Any]) -> list[MirrorProcess]:
    """Begins to mirror the run in `run`; `entries` are those of MIRRORS."""
    return [MirrorProcess(run, *named(entry)) for entry in entries]


def finish_mirrors(mirrors: Sequence[MirrorProcess], patience: float | None = None) -> None:
    """The run has ended, its record is whole: waits until the mirrors are done, for `patience` (PATIENCE) seconds."""
    patience = PATIENCE if patience is None else patience
    for mirror in mirrors:
        mirror.end(patience)
    deadline = time.monotonic() + patience
    for mirror in mirrors:
        mirror.wait(deadline)


def cut_mirrors(run: Path, mirrors: Sequence[MirrorProcess], rows: int) -> None:
    """metrics.jsonl was cut to `rows` rows. Mirrors of earlier sessions and dead ones are not told: their notes are mended."""
    for mirror in mirrors:
        mirror.goes_on_at(rows)
    for note in (run / "mirrors").glob("*.json"):
        try:
            state = json.loads(note.read_text(encoding="utf-8"))
            if state["rows"] > rows:
                write_json(note, {**state, "rows": rows})
        except (OSError, ValueError, KeyError, TypeError) as error:  # no reason to end a training
            LOG.warning("mirror %s: %s cannot be brought up to date (%s)", note.stem, note.name, error)


def rows_of(run: Path) -> int:
    """How many rows the run's metrics.jsonl has."""
    with suppress(OSError):
        return (run / "metrics.jsonl").read_bytes().count(b"\n")
    return 0


class MirrorProcess:
    """One mirror of a run. Of all that may go wrong with it, the first thing is said in one WARNING, the rest stands in
    mirrors/<name>.log.

    Args:
        run: the run's folder.
        name, arguments: of its entry in MIRRORS.
    """

    def __init__(self, run: Path, name: str, arguments: dict[str, Any]) -> None:
        self.run, self.name, self.failed = run, name, False
        self._child: subprocess.Popen[bytes] | None = None
        words = [sys.executable, "-c", _START + _MAIN, str(_ROOT), str(run), name, json.dumps(arguments)]
        try:
            (run / "mirrors").mkdir(exist_ok=True)
            with open(run / "mirrors" / f"{name}.log", "ab") as log:
                # A session of its own: Ctrl-C in the terminal is for the training.
                self._child = subprocess.Popen(
                    words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0, start_new_session=True
                )
            self._listener = threading.Thread(target=self._listen, args=(self._child,), name=f"mirror {name}", daemon=True)
            self._listener.start()
        except (OSError, RuntimeError) as error:  # no more processes, threads or room
            self._give_up(f"it cannot be started ({getattr(error, 'strerror', None) or error})")
            self._kill()
            return
        self.goes_on_at(rows_of(run))

    def goes_on_at(self, rows: int) -> None:
        """Of metrics.jsonl the first `rows` rows are old; what follows them is new."""
        self._tell(f"rows {rows}")

    def end(self, patience: float) -> None:
        """Says that the run has ended and how many seconds there are."""
        self._tell(f"end {patience}")

    def wait(self, deadline: float) -> None:
        """Until the mirror is done; at `deadline` (of the monotonic clock) it is killed, and what it started too."""
        if self._child is None:
            return
        self._listener.join(max(deadline - time.monotonic(), 0))
        if self._listener.is_alive():
            self._give_up(f"it was not done in time, with {self._sent()} of {rows_of(self.run)} rows sent")
        self._kill()
        self._listener.join(1.0)

    def _kill(self) -> None:
        """Ends what is left of the process and of what it started."""
        child, self._child = self._child, None
        if child is not None and child.stdin is not None:
            if child.returncode is None:  # else the listener has done so, and by now the number may be another's
                _kill_group(child.pid)
            child.stdin.close()

    def _tell(self, order: str) -> None:
        """A few bytes into a pipe that holds thousands of such: this never waits."""
        if self._child is not None and self._child.stdin is not None:
            with suppress(OSError):  # it is gone; the listener says so
                self._child.stdin.write(f"{order}\n".encode())

    def _listen(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        with child.stdout as said:
            for line in said:
                level, _, text = line.decode(errors="replace").strip().partition(" ")
                if level == "WARNING":
                    self._give_up(text)
                else:
                    LOG.info("mirror %s: %s", self.name, text)
        code = child.wait()
        _kill_group(child.pid)
        if code == -signal.SIGALRM:
            self._give_up(f"a call into its library took more than {HANG} s")
        elif code:
            self._give_up(f"its process died (code {code})")

    def _give_up(self, text: str) -> None:
        if not self.failed:
            self.failed = True
            LOG.warning("mirror %s: %s; what it lacks can be sent later: tools/mirror.py", self.name, text)

    def _sent(self) -> int:
        try:
            return int(json.loads((self.run / "mirrors" / f"{self.name}.json").read_text())["rows"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left
        os.killpg(leader, signal.SIGKILL)
