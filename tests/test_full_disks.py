"""A disk that is full, or a folder that cannot be written, costs the checkpoint of the moment and nothing before it."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, TINY, newest, read_json
from test_exp_records import make_run
from test_resume_equals_uninterrupted import final

import utils.files
from engine.checkpoint import CheckpointWriter, load_newest
from tracking.keeping import trash
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]


def state(step: int, floats: int = 200_000) -> dict[str, Any]:
    """A training state."""
    return {"progress": {"step": step}, "model": torch.full((floats,), float(step))}


@contextmanager
def no_file_beyond(limit: int) -> Iterator[None]:
    """No file may grow beyond `limit` bytes: to a program this is a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def assert_intact(folder: Path, step: int) -> None:
    """The good files are there and nothing half written is."""
    loaded = load_newest(folder)
    assert loaded is not None and loaded[1]["progress"]["step"] == step
    assert not list(folder.glob(".writing-*"))


def test_a_full_disk_leaves_the_good_files(tmp_path: Path) -> None:
    """Of a real file system, where this account may mount one."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here; the limit on the size of a file is tested below")
    try:
        writer = CheckpointWriter(tmp_path)
        writer.write("last.pt", state(1), step=1)
        for step in (2, 3):
            with pytest.raises(OSError, match="No space left"):
                writer.write("last.pt", state(step, 400_000), step=step)
            assert_intact(tmp_path, 1)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("limit", [0, 100, 5_000, 400_000])
def test_a_file_too_large_leaves_the_good_files(limit: int, tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path)
    writer.write("last.pt", state(1), step=1)
    with no_file_beyond(limit), pytest.raises(OSError, match="File too large"):
        writer.write("last.pt", state(2), step=2)
    assert_intact(tmp_path, 1)


def fail_at(monkeypatch: pytest.MonkeyPatch, *steps: int, once: bool = False) -> None:
    """Writing the checkpoints of these steps meets a full disk, always or the first time."""
    before, failed = CheckpointWriter.write, set()

    def write(writer: CheckpointWriter, name: str, content: dict[str, Any], *, step: int, metric: Any = None) -> None:
        if step in steps and not (once and (name, step) in failed):
            failed.add((name, step))
            raise OSError(28, "No space left on device")
        before(writer, name, content, step=step, metric=metric)

    monkeypatch.setattr(CheckpointWriter, "write", write)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that of TensorBoard's thread
def test_a_disk_that_fills_while_training_ends_nothing(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log, status, curves and checkpoints all meet a disk that is full from step 6 to step 14."""
    from engine.hooks.logging import LoggingHook

    exp = tmp_path / "exp"
    exp.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(exp)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    after_step = LoggingHook.after_step

    def fill(hook: LoggingHook, trainer: Any) -> None:
        if trainer.step == 6:
            with pytest.raises(OSError), open(exp / ".ballast", "wb", buffering=0) as file:
                for size in (1 << 20, 4096):
                    while file.write(bytes(size)) == size:
                        continue
        if trainer.step == 14:
            (exp / ".ballast").unlink()
        after_step(hook, trainer)

    try:
        monkeypatch.setattr(LoggingHook, "after_step", fill)
        code, log, _ = train(*TINY, "SOLVER.CHECKPOINT_ASYNC", "false")
        assert code == 0, log
        assert "last.pt of step 6 was not written: No space left" in log and "last.pt of step 12 was not" in log, log
        run = newest(exp)
        assert read_json(run / "status.json")["status"] == "finished"
        assert_intact(run / "weights", 18)
    finally:
        subprocess.run(["umount", "-l", str(exp)], check=True)


def test_training_goes_on_when_the_disk_is_full_for_a_while(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, 6, once=True)
    code, log, _ = train(*TINY)
    assert code == 0, log
    lines = [line for line in log.splitlines() if "WARNING" in line and "was not written" in line]
    assert [name in line for name, line in zip(("best.pt", "epoch_0001.pt", "last.pt"), lines, strict=True)] == [True] * 3
    assert "No space left" in lines[2] and "needs" in lines[2] and "free" in lines[2]
    run = newest(tmp_path / "exp")
    assert final(run)["progress"]["step"] == 18 and (run / "weights" / "best.pt").is_file()
    assert "epoch_0001.pt" not in final(run)["checkpoints"]["kept"]


def test_a_run_whose_last_state_is_not_on_disk_has_failed(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at(monkeypatch, 12, 18)
    code, log, _ = train(*TINY)
    assert code == 1 and "last.pt of the end could not be written" in log and "Traceback" not in log, log
    run = newest(tmp_path / "exp")
    assert read_json(run / "status.json")["status"] == "failed" and final(run)["progress"]["step"] == 6
    assert read_json(run / "status.json")["progress"]["step"] == 6  # what is said is what is on disk
    monkeypatch.undo()
    assert train("--resume", run.name)[0] == 0
    assert final(run)["progress"]["step"] == 18


def test_a_file_that_the_end_can_write_after_all_is_written(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = CheckpointWriter.write
    tries: list[int] = []

    def write(writer: CheckpointWriter, name: str, content: dict[str, Any], *, step: int, metric: Any = None) -> None:
        if name == "last.pt" and step == 18 and not tries:
            tries.append(step)
            raise OSError(28, "No space left on device")
        before(writer, name, content, step=step, metric=metric)

    monkeypatch.setattr(CheckpointWriter, "write", write)
    code, log, _ = train(*TINY)
    assert code == 0 and "was not written" in log and final(newest(tmp_path / "exp"))["progress"]["step"] == 18, log


def test_a_folder_that_became_read_only_leaves_the_good_files(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What open gives there; root may write everywhere, so the folder itself cannot show it in every place."""
    write = CheckpointWriter.write

    def refused(writer: CheckpointWriter, name: str, content: dict[str, Any], *, step: int, metric: Any = None) -> None:
        if step > 6:
            raise PermissionError(13, "Permission denied", str(writer.folder / name))
        write(writer, name, content, step=step, metric=metric)

    monkeypatch.setattr(CheckpointWriter, "write", refused)
    code, log, _ = train(*TINY)
    assert code == 1 and "Permission denied" in log and "Traceback" not in log
    assert_intact(newest(tmp_path / "exp") / "weights", 6)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_raises_and_keeps_the_file(tmp_path: Path) -> None:
    CheckpointWriter(tmp_path).write("last.pt", state(1), step=1)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError):
            CheckpointWriter(tmp_path).write("last.pt", state(2), step=2)
        assert_intact(tmp_path, 1)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.slow
def test_an_export_to_a_full_disk_is_one_line_a_format(train: Train, tmp_path: Path) -> None:
    assert train(*TINY, "SOLVER.MAX_EPOCHS", "1", "MODEL.HIDDEN", "[2048]")[0] == 0
    words = ("tools/export.py", "tiny", "--to", "torch-export,safetensors", "--output-dir", str(tmp_path / "exp"))
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 100; exec "$@"', "_", sys.executable, *words], cwd=ROOT, capture_output=True, text=True
    )
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    assert done.returncode == 1 and len(errors) == 2 and "Traceback" not in done.stderr, done.stderr


def test_too_little_room_for_checkpoints_is_said_before_there_is_a_folder(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine.disk

    monkeypatch.setattr(engine.disk, "free_bytes", lambda _: 1000)
    code, log, _ = train(*TINY)
    assert code == 2 and log.count("error:") == 1 and "1000 bytes) are free" in log, log
    assert not (tmp_path / "exp").exists() or not list((tmp_path / "exp").iterdir())
    assert utils.files.free_bytes(tmp_path / "not" / "yet") > 1000


@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_what_checkpoints_need_is_about_what_they_take(
    optimizer: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine.disk

    guess: list[int] = []
    estimate = engine.disk.checkpoint_bytes

    def noted(trainer: Any) -> tuple[int, int]:
        guess.append(estimate(trainer)[0])
        return estimate(trainer)

    monkeypatch.setattr(engine.disk, "checkpoint_bytes", noted)
    words = ["MODEL.NAME", "resnet20", "SOLVER.OPTIMIZER_NAME", optimizer, "SOLVER.BASE_LR", "0.001", "SOLVER.MAX_STEPS", "1"]
    code, log, _ = train(*TINY, *words)
    assert code == 0, log
    written = (newest(tmp_path / "exp") / "weights" / "last.pt").stat().st_size
    assert 0.8 * written < guess[0] < 1.6 * written, (guess, written)


def test_scores_that_cannot_be_written_are_told_all_the_same(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import test_net

    assert train(*TINY)[0] == 0
    run = newest(tmp_path / "exp")
    before = read_json(run / "test.json")
    monkeypatch.setattr("engine.testing.write_atomic", read_only)
    code, error, said = train(run.name, "--json", main=test_net.main)
    assert (
        code == 2 and error == f"error: {run}: the scores cannot be written (Read-only file system); they were only printed\n"
    )
    assert json.loads(said)["metrics"] == before["metrics"]


def read_only(path: Path, content: str) -> None:
    """As writing is on a disk that is mounted to be read."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))


def test_a_picture_is_whole_or_the_one_before(tmp_path: Path) -> None:
    from engine.figures.pictures import new_axes, save

    figure, axes = new_axes("a", "b", "c")
    before = save(figure, tmp_path / "curves.png").read_bytes()
    axes.plot([1, 2], [3, 4])
    with no_file_beyond(1000), pytest.raises(UserError, match=r"curves\.png: the picture cannot be written"):
        save(figure, tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    assert (tmp_path / "curves.png").read_bytes() == before


def test_a_trace_that_was_not_written_is_not_named(train: Train, tmp_path: Path) -> None:
    import analyze

    trace = tmp_path / "trace.json"
    with no_file_beyond(1000):
        code, error, said = train("profile", *TINY, "--steps", "1", "--file", str(trace), main=analyze.main)
    assert code == 2 and "the trace cannot be written" in error and "trace:" not in said and not list(tmp_path.iterdir())


def test_a_run_that_the_trash_has_no_room_for_stays(tmp_path: Path) -> None:
    run = make_run(tmp_path / "exp")
    with no_file_beyond(10), pytest.raises(UserError, match="nothing was removed"):
        trash.move(tmp_path / "exp", [trash.Item(run.name, run.name, 0)], "rm")
    assert (run / "run.json").is_file()
