"""A trial as a process: forked from one that has imported everything, so that it starts at once and fails alone."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from engine.hooks.trial import be_trial
from utils import interrupts, orphans

# Where forking a process that has loaded libraries is not safe (macOS), a trial imports them itself.
CONTEXT: Any = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
_OF_A_RUN = (
    "data", "data.datasets.synthetic", "engine.build", "engine.card", "engine.disk", "engine.ending", "engine.hooks.build",
    "engine.launch", "engine.resume", "modeling", "solver", "torch.utils.tensorboard", "tracking.start",
)  # fmt: skip


class TrialProcess:
    """A running `tools/train_net.py`. It ends when this process does, however that ends.

    Args:
        main: the tool, as `run_tool(main)` calls it.
        log: where all that it prints goes.
        device: what CUDA_VISIBLE_DEVICES shall be; "": as it is.

    Attributes:
        link: to its hook, see engine/hooks/trial.py.
        work_began, work_ended: when it began and ended its work (`time.monotonic`), 0 where that is not known.
        imported: modules that it imported.
    """

    def __init__(
        self, run_tool: Callable[..., None], main: Callable[..., int], words: Sequence[str], log: Path, device: str
    ) -> None:
        self.link, theirs = CONTEXT.Pipe()
        self.log, self.work_began, self.work_ended = log, 0.0, 0.0
        self.imported: list[str] = []
        arguments = (run_tool, main, list(words), log, device, theirs, os.getpid())
        self.process = CONTEXT.Process(target=_be_trial, args=arguments, name=log.stem)
        sys.stdout.flush()
        sys.stderr.flush()
        with interrupts.held():
            self.process.start()
        theirs.close()

    def ended(self) -> bool:
        """Whether it is over."""
        return self.process.exitcode is not None

    def stop(self) -> None:
        """Asks it to save and end."""
        if not self.ended():
            self.process.terminate()


def import_all() -> None:
    """What every trial needs; the slow part of a start, which is so paid once."""
    for name in _OF_A_RUN:
        import_module(name)


def import_also(names: Sequence[str]) -> None:
    """What a trial of this very recipe imported beyond that (a data set's library, a model), for those that follow. Not
    torch's own parts, some of which start helpers when they are imported."""
    for name in names:
        if name.partition(".")[0] not in ("torch", "triton", "__main__", "__mp_main__"):
            with contextlib.suppress(Exception):
                import_module(name)


def devices() -> list[str]:
    """The CUDA devices of this machine, as CUDA_VISIBLE_DEVICES names them. CUDA itself is not asked: no process could be
    forked after that."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    tool = shutil.which("nvidia-smi")
    if not tool:
        return []
    asked = subprocess.run([tool, "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True)
    return asked.stdout.split() if asked.returncode == 0 else []


def _be_trial(
    run_tool: Callable[..., None],
    main: Callable[..., int],
    words: list[str],
    log: Path,
    device: str,
    link: Connection,
    parent: int,
) -> NoReturn:
    """What happens in the new process. It is a group of its own: Ctrl-C is for the sweep, which tells its trials."""
    for number in interrupts.SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts.SIGNALS)
    orphans.end_with(parent)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    for handler in logging.getLogger("fieldbook").handlers[:]:  # those of the sweep
        logging.getLogger("fieldbook").removeHandler(handler)
    for count in ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"):  # its sweep knows which run it goes on with
        os.environ.pop(count, None)
    sys.argv = ["tools/train_net.py", *words]
    known = set(sys.modules)
    link.send(("entered", time.monotonic()))
    be_trial(link)
    try:
        run_tool(main)
    finally:
        link.send(("left", time.monotonic(), sorted(set(sys.modules) - known)))
    raise SystemExit(0)
