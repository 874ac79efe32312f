"""What --resume takes, and what it says of what it does not; what the environment says of ranks; the end of every hook."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, command, newest, read_json
from PIL import Image
from test_resume_equals_uninterrupted import assert_equal, final
from test_signals_save_once import RANKS, child, send_when

Train = Callable[..., tuple[int, str, str]]


def runs(tmp_path: Path) -> int:
    """How many there are."""
    return len([p for p in (tmp_path / "exp").iterdir() if not p.name.startswith(".")])


def test_a_run_is_named_by_its_folder_its_name_or_auto(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        send_when(patch, "step", 8, signal.SIGTERM)
        assert train(*TINY)[0] == 75
    run = newest(tmp_path / "exp")
    for number, words in enumerate((["--resume", str(run)], ["--resume", "tiny"], [*TINY, "--resume", "auto"])):
        with monkeypatch.context() as patch:
            send_when(patch, "step", 2, signal.SIGTERM)
            assert train(*words)[0] == 75
        assert final(run)["progress"]["step"] == 8 + 2 * (number + 1)
    assert train(*TINY, "--resume", "auto")[0] == 0
    assert runs(tmp_path) == 1 and read_json(run / "status.json")["status"] == "finished"
    code, log, _ = train("--resume", run.name)
    assert code == 0 and "is finished" in log
    code, log, _ = train(*TINY, "--resume", "auto")
    assert code == 0 and "a new one is started" in log and runs(tmp_path) == 2


def test_looking_before_a_resume_shows_the_runs_own_and_touches_nothing(train: Train, tmp_path: Path) -> None:
    assert train(*TINY, "SOLVER.BASE_LR", "0.02")[0] == 0
    run = newest(tmp_path / "exp")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    code, _, shown = train("--resume", "tiny", "--epochs", "4", "--print-config")
    assert code == 0 and "BASE_LR: 0.02" in shown and "MAX_EPOCHS: 4" in shown and "NAME: tiny" in shown, shown
    code, log, shown = train("--resume", "tiny", "--epochs", "4", "--name", "other", "--dry-run")
    assert code == 0 and "nothing was written" in shown and "WARNING --name is of a run's start" in log, log
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} and runs(tmp_path) == 1


def test_a_finished_run_without_its_weights_does_not_begin_anew(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    run = newest(tmp_path / "exp")
    shutil.rmtree(run / "weights")
    before = (run / "metrics.jsonl").read_bytes()
    code, error, _ = train("--resume", "tiny", "--epochs", "9")
    assert code == 3 and "weights is empty" in error and "Traceback" not in error
    assert (run / "metrics.jsonl").read_bytes() == before and read_json(run / "status.json")["status"] == "finished"


def test_a_run_that_lost_parts_of_its_record_goes_on(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    run = newest(tmp_path / "exp")
    for part in ("figures", "runs", "scripts"):
        shutil.rmtree(run / part)
    with open(run / "metrics.jsonl", "ab") as rows:
        rows.write(b"\xff\xfe\x00\n")  # a power cut may leave anything
    code, error, _ = train("--resume", "tiny", "--epochs", "4", "--code", "run")
    assert code == 2 and len(error.splitlines()) == 1 and "is not there" in error, error
    code, log, _ = train("--resume", "tiny", "--epochs", "4")
    assert code == 0 and "WARNING" not in log.replace("WARNING the code differs", ""), log
    shutil.rmtree(run / "weights")
    edit = {**read_json(run / "status.json"), "status": "interrupted"}  # as if none was ever written
    (run / "status.json").write_text(json.dumps(edit))
    code, log, _ = train("--resume", "tiny", "--epochs", "5")
    assert code == 0 and "starting at step 0" in log and (run / "weights" / "last.pt").is_file(), log


def test_what_is_no_run_is_said_in_one_line(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    run = newest(tmp_path / "exp")
    for asked in ("nothing", str(tmp_path / "nowhere"), str(run / "weights" / "last.pt")):
        code, log, _ = train("--resume", asked)
        assert code == 2 and "Traceback" not in log and "no run" in log, log
    assert runs(tmp_path) == 1


@pytest.mark.parametrize("name", ["run.json", "status.json"])
def test_a_record_of_newer_code_is_not_gone_on_with(name: str, train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    file = newest(tmp_path / "exp") / name
    file.write_text(json.dumps({**read_json(file), "schema": 99}))
    before = file.read_bytes()
    code, log, _ = train("--resume", "tiny", "--epochs", "4")
    assert code == 2 and "newer code (schema 99)" in log and "--code run" in log, log
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE=x"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"WORLD_SIZE": "2"}, "torchrun"),
        ({"WORLD_SIZE": "2", "RANK": "y", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}, "torchrun"),
    ],
)
def test_half_an_environment_of_ranks_is_one_line(
    environment: dict[str, str], said: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("engine.distributed.was_rank", False)
    monkeypatch.setattr("os._exit", lambda code: (_ for _ in ()).throw(SystemExit(code)))
    code, log, _ = train(*TINY)
    assert code == 2 and "Traceback" not in log and said in log, log
    assert not (tmp_path / "exp").exists()


def test_every_hook_gets_to_its_end_though_one_raises(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.hooks.progress import ProgressHook
    from engine.hooks.signals import SignalHook

    ended: list[str] = []

    def broken(hook: Any, trainer: Any) -> None:
        raise ValueError("a bug at the end")

    monkeypatch.setattr(ProgressHook, "after_train", broken)
    monkeypatch.setattr(SignalHook, "after_train", lambda hook, trainer: ended.append("signals"), raising=False)
    code, log, _ = train(*TINY)
    assert code == 1 and ended == ["signals"] and "a bug at the end" in log, log
    assert "a bug at the end" in read_json(newest(tmp_path / "exp") / "status.json")["reason"]


DIES_ONCE = """
from engine.hooks.logging import LoggingHook
original = LoggingHook.after_step
def after_step(hook, trainer):
    original(hook, trainer)
    if trainer.step == 8 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
LoggingHook.after_step = after_step
"""


@pytest.mark.slow
def test_a_launcher_that_restarts_sharded_ranks_goes_on_with_their_run(tmp_path: Path) -> None:
    pytest.importorskip("safetensors", reason="the extra `export` is not installed")
    job = child(tmp_path, DIES_ONCE, "DISTRIBUTED.STRATEGY", "fsdp", launcher=[*RANKS, "--max-restarts", "1"])
    _, log = job.communicate(timeout=400)
    assert job.returncode == 0 and "started again" in log and "step 6 from last of" in log, log
    status = read_json(newest(tmp_path / "exp") / "status.json")
    assert status["status"] == "finished" and len(status["sessions"]) == 2


@pytest.mark.slow
def test_a_launcher_that_restarts_its_ranks_goes_on_with_their_run(tmp_path: Path) -> None:
    job = child(tmp_path, DIES_ONCE, launcher=[*RANKS, "--max-restarts", "1"])
    _, log = job.communicate(timeout=400)
    assert job.returncode == 0 and "started again" in log, log
    assert runs(tmp_path) == 1
    status = read_json(newest(tmp_path / "exp") / "status.json")
    assert status["status"] == "finished" and len(status["sessions"]) == 2
    whole = command(*RANKS, "tools/train_net.py", *TINY, "TEST.IMS_PER_BATCH", "4", "--output-dir", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert_equal(final(newest(tmp_path / "whole")), final(newest(tmp_path / "exp")))
    assert os.path.isfile(newest(tmp_path / "exp") / "test.json")


def test_auto_needs_to_know_which_run(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        send_when(patch, "step", 8, signal.SIGTERM)
        assert train(*TINY)[0] == 75
    run = newest(tmp_path / "exp")
    code, log, _ = train("--resume", "auto")
    assert code == 2 and run.name in log and "--name" in log
    code, log, _ = train(*TINY, "--why", "the same command again", "--resume", "auto")
    assert code == 0 and f"resumed at epoch 1, step 8 from last.pt of {run.name}" in log and "WARNING" not in log


def test_data_that_has_changed_since_is_warned_of(train: Train, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(tmp_path / "photos" / name / f"{number}.png")
    words = ["DATASETS.TRAIN", f"image_folder:{tmp_path}/photos", "SOLVER.IMS_PER_BATCH", "2", "DATASETS.VAL_FRACTION", "0"]
    assert train(*TINY, *words, "SOLVER.MAX_STEPS", "1")[0] == 0
    code, log, _ = train("--resume", "tiny", "SOLVER.MAX_STEPS", "2")
    assert code == 0 and "has changed" not in log
    for path in (tmp_path / "photos" / "a").iterdir():
        path.rename(path.with_name(f"new{path.name}"))
    code, log, _ = train("--resume", "tiny", "SOLVER.MAX_STEPS", "3")
    assert code == 0 and log.count("the data has changed since the run began (digests of ") == 1, log
