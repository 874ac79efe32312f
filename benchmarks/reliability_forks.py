"""Children that are killed: forked from a process that has imported everything, so that a life costs a fraction of a second.

A child runs what a command line runs, from its argument list to its exit code; only the import of torch is done before.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import io
import os
import re
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = "/weights/"  # calls are counted on files whose path holds this
HANGS = 120.0  # seconds after which a child counts as hanging


@dataclass(frozen=True)
class Moment:
    """When a child is struck, and by which signal.

    kind "time": `at` seconds after its birth; "save": `at` seconds after `torch.save` was entered for the `count`-th time;
    "call": before its `count`-th call on files of the folder of weights, or in the middle of it where it is a write;
    "never".
    """

    kind: str = "never"
    at: float = 0.0
    count: int = 0
    signal: int = signal.SIGKILL


NEVER = Moment()


@dataclass
class Ended:
    """How a child ended: `code` is its exit code, or minus the signal that ended it."""

    code: int
    log: str
    seconds: float
    struck: bool
    calls: int = 0
    saves: list[float] = field(default_factory=list)  # seconds that each torch.save took

    @property
    def killed(self) -> bool:
        """Whether it was our SIGKILL that ended it."""
        return self.struck and self.code == -signal.SIGKILL


def run(action: Callable[[], object], moment: Moment = NEVER) -> Ended:
    """Forks, calls `action` in the child, strikes at the moment; returns when the child is gone."""
    assert len(threading.enumerate()) == 1, "a process with threads must not fork"
    heard, say = os.pipe()
    with tempfile.TemporaryFile() as output:
        sys.stdout.flush()
        sys.stderr.flush()
        start = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os.close(heard)
            _live(action, moment, say, output.fileno())
        os.close(say)
        try:
            ended = _watch(pid, moment, heard, start)
        finally:
            os.close(heard)
        output.seek(0)
        ended.log = output.read().decode(errors="replace")
    return ended


def import_what_it_imports(action: Callable[[], object]) -> None:
    """Runs `action` in a child and imports here whatever modules were imported there."""
    with tempfile.NamedTemporaryFile("r", suffix=".txt") as file:

        def named() -> None:
            with contextlib.suppress(SystemExit):
                action()
            Path(file.name).write_text("\n".join(sys.modules))

        ended = run(named)
        names = file.read().split()
    assert names, f"the first run failed:\n{ended.log}"
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(Exception):  # some names are aliases that only exist once their package is loaded
                importlib.import_module(name)


def _watch(pid: int, moment: Moment, heard: int, start: float) -> Ended:
    """Listens to the child until it is gone: "<" a torch.save begins, ">" it is over, "." a call."""
    begun: list[float] = []
    ended = Ended(0, "", 0.0, struck=moment.kind == "call")
    due = start + moment.at if moment.kind == "time" else float("inf")
    open_pipe = True
    while True:
        now = time.perf_counter()
        if now >= min(due, start + HANGS):
            ended.struck = True
            os.kill(pid, moment.signal if now >= due else signal.SIGKILL)
            due = float("inf")
        wait = max(0.0, min(due - time.perf_counter(), 0.002))
        if open_pipe and select.select([heard], [], [], wait)[0]:
            words = os.read(heard, 1 << 16).decode()
            open_pipe = bool(words)
            ended.calls += words.count(".")
            now = time.perf_counter()
            for word in words:
                if word == "<":
                    begun.append(now)
                    if moment.kind == "save" and len(begun) == moment.count:
                        due = now + moment.at
                elif word == ">" and begun:
                    ended.saves.append(now - begun[-1])
        elif not open_pipe:
            time.sleep(wait)
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            ended.code, ended.seconds = os.waitstatus_to_exitcode(status), time.perf_counter() - start
            return ended


def _live(action: Callable[[], object], moment: Moment, say: int, output: int) -> None:
    """The child: from here to its end."""
    code = 0
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        _report_saves(say)
        _Calls(say, moment.count if moment.kind == "call" else 0).install()
        action()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _report_saves(say: int) -> None:
    """Tells the parent when torch.save begins and is over."""
    import torch

    original = torch.save

    def save(*args: Any, **words: Any) -> None:
        os.write(say, b"<")
        original(*args, **words)
        os.write(say, b">")

    torch.save = save


class _Calls:
    """Counts the calls that change the folder of weights: opening for writing, writing, fsync, renaming, removing."""

    def __init__(self, say: int, last: int) -> None:
        self.say, self.last, self.count = say, last, 0
        self.write, self.fsync, self.open = os.write, os.fsync, builtins.open

    def install(self) -> None:
        """From now on, in this process."""
        sys.addaudithook(self._on_event)
        os.fsync = self._fsync  # type: ignore[assignment]
        os.write = self._write
        builtins.open = io.open = self._open

    def tick(self) -> bool:
        """Counts one; True when it is the last."""
        self.count += 1
        self.write(self.say, b".")
        return self.count == self.last

    def _kill_if(self, last: bool) -> None:
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    def _on_event(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            changes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if changes and _inside(args[0]):
                self._kill_if(self.tick())
        elif (event == "os.rename" and (_inside(args[0]) or _inside(args[1]))) or (event == "os.remove" and _inside(args[0])):
            self._kill_if(self.tick())

    def _fsync(self, file: Any) -> None:
        if _inside(_path_of(file)):
            self._kill_if(self.tick())
        self.fsync(file)

    def _write(self, descriptor: int, data: Any) -> int:
        if descriptor != self.say and _inside(_path_of(descriptor)) and self.tick():
            self.write(descriptor, bytes(data)[: len(data) // 2])
            self._kill_if(True)
        return self.write(descriptor, data)

    def _open(self, file: Any, mode: str = "r", *args: Any, **words: Any) -> Any:
        if mode == "wb" and not args and not words and _inside(file):
            return io.BufferedWriter(_Torn(file, self))
        return self.open(file, mode, *args, **words)


class _Torn(io.FileIO):
    """A file whose last write is only half done."""

    def __init__(self, path: Any, calls: _Calls) -> None:
        super().__init__(path, "w")
        self.calls = calls

    def write(self, data: Any) -> int:
        """Writes, or half of it and dies."""
        if self.calls.tick():
            super().write(bytes(data)[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(data)


def _inside(path: Any) -> bool:
    return isinstance(path, str | os.PathLike) and FOLDER in f"{os.fspath(path)}/"


def _path_of(file: Any) -> str:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.readlink(f"/proc/self/fd/{file if isinstance(file, int) else file.fileno()}")
    return ""


def last_match(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of the last place that matches; () where none does."""
    found = list(re.finditer(pattern, text))
    return found[-1].groups() if found else ()
