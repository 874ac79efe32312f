"""Two processes never train in one folder: the second is told who has it, and a killed one's lock is nobody's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, TINY, newest, read_json
from test_signals_save_once import child, wait_for

from tracking.lock import NAME, RunLock

Train = Callable[..., tuple[int, str, str]]
HOLDER = """
import sys, time, pathlib
sys.path.insert(0, {root!r})
from tracking.lock import RunLock
RunLock(pathlib.Path({folder!r}))
{more}
print("held", flush=True)
time.sleep(600)
"""


def holder(folder: Path, more: str = "") -> subprocess.Popen[str]:
    """A process that has the lock of a folder."""
    code = HOLDER.format(root=str(ROOT), folder=str(folder), more=more)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_and_told_who_has_it(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    run = newest(tmp_path / "exp")
    assert not (run / NAME).exists()
    before = (run / "status.json").read_bytes()
    other = holder(run)
    try:
        code, log, _ = train("--resume", run.name, "--epochs", "4")
        assert code == 2 and f"process {other.pid} on {socket.gethostname()}" in log, log
        assert (run / "status.json").read_bytes() == before
    finally:
        other.kill()
        other.wait()
    code, log, _ = train("--resume", run.name, "--epochs", "4")  # the kernel let go of it
    assert code == 0, log
    assert not (run / NAME).exists()


def test_a_forked_helper_keeps_no_lock(tmp_path: Path) -> None:
    """Data workers outlive a killed parent for a moment; here one that outlives it for long."""
    parent = holder(tmp_path, "import os\nif os.fork() == 0: time.sleep(20); os._exit(0)")
    parent.kill()
    parent.wait()
    lock = RunLock(tmp_path)  # not refused
    assert (tmp_path / NAME).exists()
    lock.release(tmp_path)


def test_one_of_many_gets_it(tmp_path: Path) -> None:
    code = (
        f"import sys, pathlib, time; sys.path.insert(0, {str(ROOT)!r})\nfrom tracking.lock import RunLock\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "for _ in range(200):\n"
        "    try: lock = RunLock(folder)\n"
        "    except Exception as error: assert 'still running' in str(error), error; continue\n"
        "    (folder / 'inside').mkdir(); (folder / 'inside').rmdir(); lock.release(folder)\n"
    )
    crowd = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in crowd:
        assert process.communicate()[1] == ""


def test_where_locks_do_not_work_a_run_trains_with_a_warning(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", none)
    code, log, _ = train(*TINY)
    assert code == 0 and "WARNING" in log and "No locks available" in log, log


@pytest.mark.slow
def test_a_run_that_trains_is_not_resumed_and_one_that_was_killed_is(train: Train, tmp_path: Path) -> None:
    code = (
        "from engine.hooks.logging import LoggingHook\n"
        "def hold(hook, trainer):\n    if trainer.step == 8: said('step'); time.sleep(600)\n"
        "LoggingHook.after_step = hold\n"
    )
    job = child(tmp_path, code, "DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", "2")
    wait_for(tmp_path / "step")
    run = newest(tmp_path / "exp")
    status, log, _ = train("--resume", run.name)
    assert status == 2 and f"process {job.pid} on {socket.gethostname()}" in log, log
    os.kill(job.pid, signal.SIGKILL)
    job.communicate()
    status, log, _ = train("--resume", run.name)
    assert status == 0 and read_json(run / "status.json")["status"] == "finished", log
