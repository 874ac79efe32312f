"""Whoever is killed, however: ten seconds later nothing that it started is alive."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from conftest import newest, read_json
from test_signals_save_once import RANKS, child, wait_for

from utils import orphans

SLOW_STEPS = """
from engine.hooks.logging import LoggingHook
original = LoggingHook.after_step
def after_step(hook, trainer):
    original(hook, trainer)
    time.sleep(0.1)
    if trainer.step == 8:
        said("step" + os.environ.get("RANK", ""))
LoggingHook.after_step = after_step
"""
LONG = ["SOLVER.MAX_EPOCHS", "1000", "DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", "2"]


def descendants(pid: int) -> set[int]:
    """Numbers of all processes that `pid` started, and that these did."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def alive(pids: set[int]) -> set[int]:
    """Those that still run; one that ended and was not waited for does not."""
    running = set()
    for pid in pids:
        try:
            if (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                running.add(pid)
        except OSError:
            continue
    return running


def seconds_until_gone(pids: set[int]) -> float:
    """How long they live on; 60 at the most."""
    start = time.monotonic()
    while alive(pids) and time.monotonic() - start < 60:
        time.sleep(0.1)
    return time.monotonic() - start


@pytest.mark.slow
def test_data_workers_die_with_the_training(tmp_path: Path) -> None:
    job = child(tmp_path, SLOW_STEPS, *LONG)
    wait_for(tmp_path / "step")
    started = descendants(job.pid)
    assert len(started) >= 2
    job.kill()
    try:
        assert seconds_until_gone(started) < 50
    finally:
        for pid in alive(started):
            os.kill(pid, signal.SIGKILL)
    job.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("event", [signal.SIGKILL, signal.SIGUSR1])
def test_ranks_save_and_end_when_their_launcher_is_gone(event: int, tmp_path: Path) -> None:
    """SIGUSR1 kills a torchrun that was not told of it. The ten seconds are those of a machine that is not overloaded."""
    assert orphans.LOOK + orphans.GRACE < 10
    job = child(tmp_path, SLOW_STEPS, *LONG, launcher=RANKS)
    wait_for(tmp_path / "step0")
    wait_for(tmp_path / "step1")
    started = descendants(job.pid)
    assert len(started) >= 6  # 2 ranks, 2 workers each
    job.send_signal(event)
    try:
        assert seconds_until_gone(started) < 50
    finally:
        for pid in alive(started):
            os.kill(pid, signal.SIGKILL)
    job.communicate()
    status = read_json(newest(tmp_path / "exp") / "status.json")
    assert (status["status"], status["reason"]) == ("interrupted", "signal SIGTERM")


TOLD = [*RANKS, "--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1,SIGUSR2"]


@pytest.mark.slow
def test_a_launcher_that_is_told_of_usr1_hands_it_on(tmp_path: Path) -> None:
    job = child(tmp_path, SLOW_STEPS, *LONG, launcher=TOLD)
    wait_for(tmp_path / "step1")
    started = descendants(job.pid)
    job.send_signal(signal.SIGUSR1)
    job.communicate(timeout=300)
    assert not alive(started)
    assert read_json(newest(tmp_path / "exp") / "status.json")["status"] == "interrupted"
