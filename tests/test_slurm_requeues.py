"""A job that SLURM stops puts itself into the queue again, and the same command then goes on with its own run and code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, newest, read_json
from test_ranks_agree import launch
from test_resume_equals_uninterrupted import assert_equal, final
from test_signals_save_once import child, send_when

Train = Callable[..., tuple[int, str, str]]
IDS = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a `scontrol` on PATH writes its arguments to, one call a line; the environment is that of job 41."""
    for name in IDS:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "bin"
    folder.mkdir()
    fake = folder / "scontrol"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    return tmp_path / "calls"


def stop(train: Train, patch: pytest.MonkeyPatch, *words: str, event: int = signal.SIGTERM, step: int = 8) -> str:
    """A run that a signal stops; what it logged."""
    with patch.context() as context:
        send_when(context, "step", step, event)
        code, log, _ = train(*TINY, *words)
    assert code == 75, log
    return log


def test_a_job_is_requeued_once_when_all_is_saved(train: Train, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop(train, monkeypatch)
    assert calls.read_text() == "requeue 41\n"
    run = newest(calls.parent / "exp")
    assert read_json(run / "status.json")["sessions"][0]["slurm_job_id"] == "41"
    assert read_json(run / "status.json")["status"] == "interrupted"


def test_a_task_of_an_array_is_named_by_both_numbers(train: Train, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    stop(train, monkeypatch, event=signal.SIGUSR1)
    assert calls.read_text() == "requeue 40_3\n"


def test_neither_ctrl_c_nor_an_end_of_its_own_requeues(train: Train, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop(train, monkeypatch, event=signal.SIGINT)
    assert train(*TINY)[0] == 0
    assert not calls.exists()


def test_scancel_does_not_requeue(train: Train, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squeue = calls.parent / "bin" / "squeue"
    squeue.write_text("#!/bin/sh\necho COMPLETING\n")
    squeue.chmod(0o755)
    log = stop(train, monkeypatch)
    assert not calls.exists() and "WARNING SLURM job 41 is not requeued" in log
    stop(train, monkeypatch, event=signal.SIGUSR1)
    assert calls.read_text() == "requeue 41\n"


def test_there_is_a_limit(train: Train, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    log = stop(train, monkeypatch, "DISTRIBUTED.MAX_REQUEUES", "2")
    assert not calls.exists() and "WARNING" in log and "DISTRIBUTED.MAX_REQUEUES" in log
    stop(train, monkeypatch, "DISTRIBUTED.MAX_REQUEUES", "3")
    assert calls.read_text() == "requeue 41\n"


def test_without_scontrol_the_run_is_saved_all_the_same(train: Train, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (calls.parent / "bin" / "scontrol").unlink()
    log = stop(train, monkeypatch)
    assert "WARNING" in log and "scontrol requeue 41" in log
    (calls.parent / "bin" / "scontrol").write_text("#!/bin/sh\necho Job is pending execution >&2; exit 1\n")
    (calls.parent / "bin" / "scontrol").chmod(0o755)
    log = stop(train, monkeypatch)
    assert "WARNING" in log and "Job is pending execution" in log


@pytest.mark.parametrize("again", ["SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT"])
def test_the_same_command_goes_on_with_its_own_run_and_code(
    again: str, train: Train, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a-launcher")
    monkeypatch.setattr("utils.orphans.follow_launcher", lambda: None)
    stop(train, monkeypatch, "SEED", "1")
    other = newest(calls.parent / "exp")
    stop(train, monkeypatch)
    own = newest(calls.parent / "exp")
    assert other != own
    started: list[list[str]] = []

    def execute(_: str, words: list[str]) -> Any:
        started.append(words)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execute)
    monkeypatch.setenv(again, "1")
    _, log, _ = train(*TINY, "SEED", "1")
    _, log, _ = train(*TINY)
    assert own.name in log
    for words, run in zip(started, (other, own), strict=True):
        assert words[:2] == [sys.executable, str(run / "scripts" / "tools" / "train_net.py")]
        assert words[2:6] == ["--resume", str(run), "--code", "run"]
    code, log, _ = train(*TINY, "SEED", "2")  # a command that had not begun yet
    assert code == 0 and len(list((calls.parent / "exp").iterdir())) == 3, log


PREEMPTED = """
from engine.hooks.logging import LoggingHook
original = LoggingHook.after_step
def after_step(hook, trainer):
    original(hook, trainer)
    if trainer.step == 8:
        os.kill(os.getpid(), signal.SIGTERM)
LoggingHook.after_step = after_step
"""


@pytest.mark.slow
def test_a_requeued_job_ends_as_one_that_was_never_stopped(calls: Path) -> None:
    whole = launch(calls.parent / "whole", "TEST.IMS_PER_BATCH", "4")
    job = child(calls.parent, PREEMPTED)
    assert job.wait(300) == 75
    job.communicate()
    run = newest(calls.parent / "exp")
    assert calls.read_text() == "requeue 41\n"
    again = child(calls.parent, "", SLURM_RESTART_COUNT="1")
    _, log = again.communicate(timeout=300)
    assert again.returncode == 0 and "started again" in log, log
    assert [p.name for p in (calls.parent / "exp").iterdir() if not p.name.startswith(".")] == [run.name]
    assert_equal(final(whole), final(run))
    assert read_json(run / "status.json")["sessions"][1]["code_digest"] == read_json(run / "run.json")["code_digest"]


def test_a_resuming_command_started_again_goes_on_with_the_run_of_its_own_job(
    train: Train, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(train, monkeypatch)
    own = newest(calls.parent / "exp")
    monkeypatch.setenv("SLURM_JOB_ID", "42")  # another job's run of the same name, and newer
    stop(train, monkeypatch)
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    started: list[list[str]] = []

    def execute(program: str, words: list[str]) -> None:
        started.append(words)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execute)
    train(*TINY, "--resume", "auto")
    train("--resume", own.name)
    assert [words[1] for words in started] == [str(own / "scripts" / "tools" / "train_net.py")] * 2
