"""The process of a mirror: reads the run's folder as the run writes it and hands it on to the mirror.

What has been sent stands in mirrors/<name>.json, so that a resumed run goes on in the same place of the other tracker and
what one session could not send the next one does. The files are the truth, and the queue: nothing is ever dropped for
being late, and a mirror that hangs fills no memory.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tracking.mirrors.base import Mirror, read_facts
from tracking.mirrors.build import make_mirror
from tracking.record import read_record
from utils.errors import UserError
from utils.files import write_json
from utils.interrupts import SIGNALS

PERIOD = 1.0  # seconds between two looks for new rows
SAVE = 5.0  # seconds between two notes of what was sent
HANG = 120  # seconds that a call into the library may take; the kernel then ends this process
ORPHAN = 8  # seconds for the end of a mirror whose training was killed
NICENESS = 5  # the training comes first


def main(run: str, name: str, arguments: str) -> None:
    """The mirror `name` of the run in the folder `run`, until that ends. Says `INFO text` or `WARNING text` to stdout."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # the training decides when this ends
    os.nice(NICENESS)
    # Kept from the library, which may print and may start processes of its own.
    orders, said = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w", buffering=1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    try:
        mirror = make_mirror(name, json.loads(arguments))
        Follower(Path(run), name, mirror, Orders(orders), said).follow()
    except BaseException as error:
        traceback.print_exc()
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        text = " ".join(f"{kind}{error}".split())
        print("WARNING", text[:300] + "..." * (len(text) > 300), file=said)
        sys.stderr.flush()
        os._exit(1)  # whatever the library still wants to do


class Orders:
    """What the training says: `rows N` (the first N rows are old), `end SECONDS`; that it is gone, by closing the pipe."""

    def __init__(self, file: IO[str]) -> None:
        self.ended = False
        self._rows: deque[int] = deque()
        self._news = threading.Event()
        self._clock = threading.Lock()
        threading.Thread(target=self._read, args=(file,), name="orders", daemon=True).start()

    def wait(self, seconds: float | None = None) -> None:
        """Until there is an order."""
        self._news.wait(seconds)
        self._news.clear()

    def take_rows(self) -> int | None:
        """The fewest `rows` that were said since the last call, None for none."""
        said = [self._rows.popleft() for _ in range(len(self._rows))]
        return min(said, default=None)

    def untaken_rows(self) -> list[int]:
        """What the next `take_rows` chooses from."""
        return list(self._rows)

    def still_there(self) -> None:
        """From now on a call may take HANG seconds; at the end there is less time, which was set before."""
        with self._clock:
            if not self.ended:
                signal.alarm(HANG)

    def _read(self, file: IO[str]) -> None:
        seconds = ORPHAN
        for line in file:
            order, value = line.split()
            if order == "rows":
                self._rows.append(int(value))
                self._news.set()
            else:
                seconds = math.ceil(float(value)) + 1  # the training itself ends it a second earlier
                break
        with self._clock:  # `still_there` has asked and not yet set its own, or will not set it any more
            self.ended = True
            signal.alarm(seconds)
        self._news.set()


class Follower:
    """Hands rows to a mirror, from where it stopped the last time."""

    def __init__(self, run: Path, name: str, mirror: Mirror, orders: Orders, said: IO[str]) -> None:
        self.run, self.mirror, self.orders, self.said = run, mirror, orders, said
        self._file = run / "mirrors" / f"{name}.json"
        self._rows: IO[bytes] | None = None
        self._saved = 0.0
        try:
            self.state: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self.state = {"id": "", "link": "", "rows": 0}
        self._handed = int(self.state["rows"])  # rows; what a flush has sent of them is in the state

    def follow(self) -> None:
        """Until the run has ended."""
        self.orders.still_there()
        identity = self.mirror.start(read_facts(self.run), self.state["id"])
        self.state.update(id=identity, link=self.mirror.link)
        self._save()
        with suppress(OSError):  # nobody listens any more
            print("INFO", self.mirror.link or f"has begun ({identity or self._file.stem})", file=self.said)
        self.orders.wait()
        try:
            while not self._send():
                self.orders.wait(PERIOD)
        finally:
            self._save()
        self._finish()

    def _send(self) -> bool:
        """All rows that there are by now; whether these were the last."""
        ended = self.orders.ended  # asked before the rows are read: none comes after it
        for step, values in self._new_rows():
            self.orders.still_there()
            self.mirror.scalars(step, values)
            if time.monotonic() - self._saved > SAVE:
                self._flush()
                self._save()
        self._flush()
        return ended

    def _flush(self) -> None:
        self.orders.still_there()
        self.mirror.flush()
        self.state["rows"] = self._handed

    def _new_rows(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Whole lines not yet handed on. After a cut the file is another one, whose first rows are old."""
        old = self.orders.take_rows()
        if old is not None or self._rows is None:
            self._handed = self._handed if old is None else min(self._handed, old)
            self.state["rows"] = min(self.state["rows"], self._handed)
            self._rows = open(self.run / "metrics.jsonl", "rb")  # noqa: SIM115
            for _ in range(self._handed):
                self._rows.readline()
        while True:
            place = self._rows.tell()
            line = self._rows.readline()
            if not line.endswith(b"\n"):  # the end, or a line that is being written
                self._rows.seek(place)
                return
            self._handed += 1
            try:
                row = json.loads(line)
                step = int(row.pop("step"))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # a torn line
            yield step, {name: math.nan if value is None else value for name, value in row.items()}

    def _finish(self) -> None:
        status = read_record(self.run).status
        outcome = "lost" if status.get("status") == "running" else str(status.get("status"))
        if outcome == "finished":
            for figure in sorted((self.run / "figures").glob("*.png")):
                self.mirror.figure(figure)
        best = {name: entry["best"] for name, entry in status.get("metrics", {}).items() if entry["best"] is not None}
        self.mirror.finish(outcome, best)

    def _save(self) -> None:
        self._saved = time.monotonic()
        rows = min([self.state["rows"], *self.orders.untaken_rows()])  # it may have been cut and this one fail at once
        write_json(self._file, {**self.state, "rows": rows})
