"""What was logged is on disk, whatever ends the run; and a disk without room for logs ends no training."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, newest, read_json
from test_adding_is_one_file import fork, write

from tracking.record import read_metrics
from tracking.run import Run
from utils.logger import log_file

Train = Callable[..., tuple[int, str, str]]

KILL = """
    import logging, os, signal
    from engine.hooks import HOOKS, Hook
    @HOOKS.register("kill")
    class Kill(Hook):
        def __init__(self, run, evaluation):
            pass
        def after_step(self, trainer):
            logging.getLogger("fieldbook").info("reached step %d", trainer.step)
            if trainer.step == 9:
                os.kill(os.getpid(), signal.SIGKILL)
"""


def tensorboard_steps(folder: Path) -> set[int]:
    """The steps of train/loss in the event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step for event in events.Scalars("train/loss")}


@pytest.mark.slow
def test_a_killed_run_keeps_every_step_before(tmp_path: Path) -> None:
    root = fork(tmp_path / "fork")
    write(root, {"engine/hooks/kill.py": KILL})
    words = [*TINY, "SOLVER.LOG_PERIOD", "1", "HOOKS", "[kill]", "--output-dir", str(tmp_path / "exp")]
    done = subprocess.run([sys.executable, "tools/train_net.py", *words], cwd=root, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = newest(tmp_path / "exp")
    log = (run / "log.txt").read_text()
    assert all(f"reached step {step}\n" in log for step in range(1, 10))
    steps = {row["step"] for row in read_metrics(run / "metrics.jsonl") if "train/loss" in row}
    assert steps == set(range(1, 10))
    assert tensorboard_steps(run / "runs") >= set(range(1, 9))  # a thread writes these: the last may be on its way


def test_a_torn_last_line_is_passed_over_and_cut_on_resume(train: Train, tmp_path: Path) -> None:
    assert train(*TINY, "SOLVER.MAX_EPOCHS", "1")[0] == 0
    run = newest(tmp_path / "exp")
    before = len(list(read_metrics(run / "metrics.jsonl")))
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "train/lo')
    assert len(list(read_metrics(run / "metrics.jsonl"))) == before
    assert train("--resume", run.name, "--epochs", "2")[0] == 0
    assert '"train/lo\n' in (run / "metrics.cut.jsonl").read_text()
    steps = [row["step"] for row in read_metrics(run / "metrics.jsonl")]
    assert steps == sorted(steps) and steps[-1] == 12


def test_a_full_disk_for_log_txt_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.symlink("/dev/full", tmp_path / "log.txt")
    with log_file(tmp_path / "log.txt"):
        for _ in range(3):
            logging.getLogger("fieldbook").warning("a line")
    error = capsys.readouterr().err
    assert error.count("lines may be lost (No space left on device)") == 1
    assert "Logging error" not in error and "Traceback" not in error


def test_a_full_disk_for_tensorboard_ends_no_training(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    original, count = RecordWriter.write, 0

    def full(self: Any, data: bytes) -> None:
        nonlocal count
        count += 1
        if count > 5:
            raise OSError(28, "No space left on device")
        original(self, data)

    monkeypatch.setattr(RecordWriter, "write", full)
    code, log, _ = train(*TINY)
    assert code == 0 and log.count("no more TensorBoard files") == 1 and "Traceback" not in log, log
    run = newest(tmp_path / "exp")
    assert read_json(run / "status.json")["status"] == "finished"
    assert {row["step"] for row in read_metrics(run / "metrics.jsonl")} >= {2, 18}


def test_a_full_disk_for_the_record_is_said_once_and_mended_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Train
) -> None:
    import errno

    real, full = os.write, False

    def scarce(descriptor: int, data: bytes) -> int:
        if not full or not data.startswith((b'{"step"', b"\n")):
            return real(descriptor, data)
        return real(descriptor, data[:7]) if data.startswith(b'{"step": 4,') else _no_space()

    def _no_space() -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    logged = Run.log

    def log(self: Run, step: int, epoch: int, scalars: dict[str, float]) -> None:
        nonlocal full
        full = 4 <= step <= 8
        logged(self, step, epoch, scalars)

    monkeypatch.setattr(os, "write", scarce)
    monkeypatch.setattr(Run, "log", log)
    code, text, _ = train(*TINY)
    assert code == 0 and text.count("metrics.jsonl: lines are lost") == 1, text
    run = newest(tmp_path / "exp")
    steps = {row["step"] for row in read_metrics(run / "metrics.jsonl") if "train/loss" in row}
    assert steps == {2, 10, 12, 14, 16, 18}


def test_evaluation_uses_the_average_and_training_resumes_the_raw_weights(train: Train, tmp_path: Path) -> None:
    words = [*TINY, "SOLVER.EMA_DECAY", "0.9"]
    assert train(*words)[0] == 0
    run = newest(tmp_path / "exp")
    last = torch.load(run / "weights" / "last.pt", weights_only=True)
    middle = torch.load(run / "weights" / "epoch_0001.pt", weights_only=True)
    best = torch.load(run / "weights" / "best.pt", weights_only=True)["model"]
    assert (last["ema"]["updates"], middle["ema"]["updates"]) == (18, 6)
    name = next(iter(best))
    candidates = [torch.load(run / "weights" / f"epoch_000{n}.pt", weights_only=True) for n in (1, 2, 3)]
    assert any(torch.equal(best[name], one["ema"]["average"][name]) for one in candidates)
    assert not any(torch.equal(best[name], one["model"][name]) for one in candidates)
    for gone in ("last.pt", "epoch_0003.pt", "epoch_0002.pt"):
        (run / "weights" / gone).unlink()
    code, log, _ = train("--resume", run.name, "--epochs", "4")
    assert code == 0, log
    again = torch.load(run / "weights" / "epoch_0003.pt", weights_only=True)
    assert again["ema"]["updates"] == 18
    assert all(torch.equal(again["model"][n], value) for n, value in last["model"].items())
    assert all(torch.equal(again["ema"]["average"][n], value) for n, value in last["ema"]["average"].items())
