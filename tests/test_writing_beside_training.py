"""Checkpoints are written beside training: training waits for the copy only, one write at a time, nothing else changes."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from conftest import TINY, command, newest
from test_resume_equals_uninterrupted import Stop, assert_equal, final

from engine import distributed
from engine.checkpoint import CheckpointWriter, load_checkpoint
from engine.host_copy import HostCopy
from engine.manifest import read_manifest
from engine.writing import BackgroundWriter

Train = Callable[..., tuple[int, str, str]]


def test_a_copy_stays_as_it_was_and_its_memory_is_used_again() -> None:
    weight = torch.arange(12.0).reshape(1, 3, 2, 2).to(memory_format=torch.channels_last)
    state = {"a": [weight, (1, "x", None)], "tied": weight, "order": collections.OrderedDict(b=torch.ones(2))}
    copier = HostCopy()
    first = copier.take(state)
    weight.zero_()
    assert first["a"][0][0, 2, 1, 1] == 11 and first["tied"] is first["a"][0] and type(first["order"]) is dict
    assert first["a"][0].is_contiguous(memory_format=torch.channels_last) and first["a"][1] == (1, "x", None)
    second = copier.take(state)
    assert second["a"][0] is first["a"][0] and (second["a"][0] == 0).all()
    third = copier.take({**state, "a": [torch.ones(5)]})
    assert third["a"][0].tolist() == [1.0] * 5


class OnGpu(torch.Tensor):
    """Says that it lies on the second GPU, and copies as one on the CPU."""

    device = torch.device("cuda", 1)


def test_a_copy_waits_for_the_device_that_holds_the_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[Any] = []
    stream = lambda number=0: SimpleNamespace(synchronize=lambda: waited.append(number))  # noqa: E731
    monkeypatch.setattr(torch.cuda, "current_stream", stream)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: waited.append(device))
    HostCopy().take({"a": torch.ones(2).as_subclass(OnGpu), "b": torch.ones(3).as_subclass(OnGpu), "c": torch.ones(2)})
    assert waited == [1]
    for device in ("cuda:1", "cuda", "cpu"):
        with distributed.session(torch.device(device)):
            pass
    assert waited == [1, torch.device("cuda", 1)]


@pytest.mark.parametrize("value", [numpy.float64(1), numpy.zeros(2), Path("x"), object()])
def test_what_could_not_be_loaded_again_is_named(value: Any) -> None:
    with pytest.raises(TypeError, match=r"hooks\.mine\[1\]: .*cannot be saved"):
        HostCopy().take({"hooks": {"mine": [1, value]}})


def test_one_write_is_in_flight_and_its_error_comes_back() -> None:
    writer, running, most = BackgroundWriter(), [0], [0]

    def work() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.02)
        running[0] -= 1

    for _ in range(5):
        writer.start(work)
    assert writer.busy
    writer.wait()
    assert most[0] == 1 and not writer.busy
    writer.start(lambda: [][0])
    with pytest.raises(IndexError):
        writer.start(work)
    writer.wait()


def test_training_goes_on_while_a_checkpoint_is_written(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first write ends only when a later step was made; what it wrote is the state of its own step."""
    from engine.hooks.logging import LoggingHook

    went_on, write, after_step = threading.Event(), CheckpointWriter.write, LoggingHook.after_step

    def slow(writer: CheckpointWriter, name: str, content: dict[str, Any], *, step: int, metric: Any = None) -> None:
        assert went_on.wait(300)
        write(writer, name, content, step=step, metric=metric)

    def stepped(hook: LoggingHook, trainer: Any) -> None:
        after_step(hook, trainer)
        if trainer.step == 9:
            went_on.set()

    assert train(*TINY)[0] == 0
    plain = newest(tmp_path / "exp")
    monkeypatch.setattr(CheckpointWriter, "write", slow)
    monkeypatch.setattr(LoggingHook, "after_step", stepped)
    code, log, _ = train(*TINY)
    assert code == 0, log
    run = newest(tmp_path / "exp")
    for name in ("epoch_0001.pt", "epoch_0002.pt", "last.pt"):
        a, b = (load_checkpoint(path / "weights" / name) for path in (plain, run))
        del a["meta"], b["meta"]
        assert_equal(a, b)


@pytest.mark.parametrize("words", [[], ["SOLVER.EMA_DECAY", "0.9"]], ids=["plain", "ema"])
def test_writing_beside_changes_nothing(
    words: list[str], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside training or in the loop, stopped and resumed or not: the same states."""
    runs = []
    for beside in ("true", "false"):
        assert train(*TINY, *words, "SOLVER.CHECKPOINT_ASYNC", beside)[0] == 0
        runs.append(newest(tmp_path / "exp"))
    with monkeypatch.context() as patch:
        Stop(8)(patch)
        assert train(*TINY, *words)[0] == 75
    runs.append(newest(tmp_path / "exp"))
    assert train("--resume", runs[2].name)[0] == 0
    for other in runs[1:]:
        assert_equal(final(runs[0]), final(other))
        assert_equal(load_checkpoint(runs[0] / "weights" / "best.pt"), load_checkpoint(other / "weights" / "best.pt"))
    epoch, last = (load_checkpoint(runs[0] / "weights" / name) for name in ("epoch_0003.pt", "last.pt"))
    assert_equal(epoch, last)


def test_top_k_keeps_the_best_and_the_newest_and_touches_nothing_else(train: Train, tmp_path: Path) -> None:
    words = [*TINY, "SOLVER.MAX_EPOCHS", "6", "SOLVER.TOP_K", "2"]
    assert train(*words, "SOLVER.MAX_STEPS", "6")[0] == 0
    run = newest(tmp_path / "exp")
    weights, elsewhere = run / "weights", tmp_path / "elsewhere.pt"
    (weights / "epoch_0099.pt").write_bytes(b"mine")  # no manifest lists it
    (weights / "epoch_0001.pt").rename(elsewhere)
    (weights / "epoch_0001.pt").symlink_to(elsewhere)
    code, log, _ = train("--resume", run.name, "SOLVER.MAX_STEPS", "0")
    assert code == 0, log
    kept = final(run)["checkpoints"]["kept"]
    assert len(kept) == 3 and "epoch_0006.pt" in kept
    files = {path.name for path in weights.glob("epoch_*.pt")}
    assert files == {*kept, "epoch_0099.pt", "epoch_0001.pt"} and elsewhere.is_file()
    assert "epoch_0001.pt" in kept or "it is a link" in log


def test_a_file_that_cannot_be_deleted_is_a_warning(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("epoch_"):
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    code, log, _ = train(*TINY, "SOLVER.MAX_EPOCHS", "4", "SOLVER.TOP_K", "1")
    assert code == 0 and "could not be deleted (Permission denied)" in log and "WARNING" in log
    weights = newest(tmp_path / "exp") / "weights"
    assert {p.name for p in weights.glob("epoch_*.pt")} <= set(read_manifest(weights))


@pytest.mark.slow
def test_two_ranks_resume_from_the_file_that_rank_0_chose(tmp_path: Path) -> None:
    """Saved within epochs by the clock of rank 0; the newest file is rotten."""
    script = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "tools/train_net.py"]
    words = [*TINY, "SOLVER.CHECKPOINT_SECONDS", "0.001", "--output-dir"]
    runs = []
    for part, steps in (("whole", "0"), ("stopped", "15")):
        done = command(*script, *words, str(tmp_path / part), "SOLVER.MAX_STEPS", steps)
        assert done.returncode == 0, done.stderr[-3000:]
        runs.append(newest(tmp_path / part))
    last = runs[1] / "weights" / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    done = command(*script, "--resume", str(runs[1]), "SOLVER.MAX_STEPS", "0")
    assert done.returncode == 0 and "rejected last.pt" in done.stderr and "step 12" in done.stderr, done.stderr[-3000:]
    assert_equal(final(runs[0]), final(runs[1]))
