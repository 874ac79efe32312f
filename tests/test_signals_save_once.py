"""A signal ends the step or the validation, saves once and exits with 75; a second one ends at once; resuming is exact."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, command, newest, read_json
from test_ranks_agree import launch
from test_resume_equals_uninterrupted import CRAFT, assert_equal, final

Train = Callable[..., tuple[int, str, str]]
WORDS = [*TINY, "TEST.IMS_PER_BATCH", "4"]  # 6 steps an epoch, 3 batches a validation
SWA = [*WORDS, "SOLVER.SWA_EPOCHS", "2"]
RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SCRIPT = f"""
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tools")!r}]
import _root, train_net
HERE = Path(__file__).parent
def said(word):
    (HERE / word).touch()
"""
RUN = "\n_root.run_tool(train_net.main)\n"


def child(folder: Path, code: str, *words: str, launcher: list[str] | None = None, **environment: str) -> subprocess.Popen[str]:
    """tools/train_net.py in a process of its own, with something changed by `code`, its runs in folder/exp."""
    script = folder / "script.py"
    script.write_text(SCRIPT + code + RUN)
    return subprocess.Popen(
        [sys.executable, *(launcher or []), str(script), *WORDS, "--output-dir", str(folder / "exp"), *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def wait_for(path: Path, seconds: float = 300) -> None:
    """Until a file is there."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.05)


def send_when(patch: pytest.MonkeyPatch, where: str, number: int, event: int) -> list[int]:
    """Sends this process a signal after the `number`-th step, or before that batch of all evaluations is counted; gives a
    list that gets an entry for every last.pt from then on."""
    from engine.evaluation_losses import EvaluationLosses
    from engine.hooks.checkpoints import CheckpointHook
    from engine.hooks.logging import LoggingHook

    saves: list[int] = []
    sent: list[int] = []
    calls = [0]

    def tick() -> None:
        calls[0] += 1
        if calls[0] == number:
            sent.append(number)
            os.kill(os.getpid(), event)

    def counted(original: Callable[..., Any], before: Callable[[], None]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            before()
            return original(*args, **kwargs)

        return call

    kind, name = (LoggingHook, "after_step") if where == "step" else (EvaluationLosses, "add")
    patch.setattr(kind, name, counted(getattr(kind, name), tick))
    patch.setattr(
        CheckpointHook, "_save", counted(CheckpointHook._save, lambda: saves.append(1) if sent else None)
    )  # fmt: skip
    return saves


@pytest.mark.parametrize(
    ("where", "number", "event", "words"),
    [
        ("step", 1, signal.SIGTERM, CRAFT),
        ("step", 8, signal.SIGUSR1, CRAFT),
        ("step", 6, signal.SIGINT, CRAFT),  # an epoch's last: its validation is done on resume
        ("batch", 5, signal.SIGTERM, CRAFT),  # in the second validation
        ("batch", 7, signal.SIGTERM, ["SOLVER.SWA_EPOCHS", "2"]),
        ("batch", 2, signal.SIGUSR1, ["SOLVER.MAX_STEPS", "8", "SOLVER.SCHEDULE", "plateau", "SOLVER.PLATEAU_PATIENCE", "1"]),
    ],
)
def test_a_signal_saves_once_and_the_rest_is_as_if_it_had_not_come(
    where: str, number: int, event: int, words: list[str], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(*WORDS, *words)[0] == 0
    whole = newest(tmp_path / "exp")
    with monkeypatch.context() as patch:
        saves = send_when(patch, where, number, event)
        code, log, _ = train(*WORDS, *words)
    stopped = newest(tmp_path / "exp")
    assert code == 75 and len(saves) == 1, log
    status = read_json(stopped / "status.json")
    assert (status["status"], status["reason"]) == ("interrupted", f"signal {signal.Signals(event).name}")
    code, log, _ = train("--resume", stopped.name)
    assert code == 0, log
    assert_equal(final(whole), final(stopped))
    assert read_json(whole / "test.json") == read_json(stopped / "test.json")
    assert read_json(whole / "status.json")["metrics"] == read_json(stopped / "status.json")["metrics"]


def test_an_epoch_without_validation_is_saved_by_its_own_checkpoint(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves = send_when(monkeypatch, "step", 6, signal.SIGTERM)
    code, log, _ = train(*WORDS, "SOLVER.EVAL_PERIOD", "3")
    assert code == 75 and len(saves) == 1, log
    assert final(newest(tmp_path / "exp"))["progress"]["epoch"] == 1


def test_a_signal_in_the_test_at_the_end_leaves_the_test_to_the_resumed_run(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        saves = send_when(patch, "batch", 11, signal.SIGTERM)  # 3 validations of 3 batches come before
        code, log, _ = train(*WORDS)
    run = newest(tmp_path / "exp")
    assert code == 75 and not saves and not (run / "test.json").exists(), log
    assert train("--resume", run.name)[0] == 0
    assert (run / "test.json").is_file() and read_json(run / "status.json")["status"] == "finished"


def test_a_signal_that_python_swallows_is_obeyed_before_there_is_a_run(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a handler raises in a destructor, or in a callback of an import, Python prints and forgets."""
    import train_net

    class Swallows:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    original = train_net.build

    def build(*args: Any) -> Any:
        Swallows()
        return original(*args)

    monkeypatch.setattr(train_net, "build", build)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    code, log, _ = train(*WORDS)
    assert code == 130 and "signal SIGINT" in log and not (tmp_path / "exp").exists(), log


def test_an_import_is_not_left_half_way(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What numpy or torch is left as by an exception out of their middle is a traceback, or aborts the process."""
    import train_net

    (tmp_path / "half_way.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nWHOLE = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    original, whole = train_net.build, []

    def build(*args: Any) -> Any:
        import half_way  # type: ignore[import-not-found]

        whole.append(half_way.WHOLE)
        return original(*args)

    monkeypatch.setattr(train_net, "build", build)
    code, log, _ = train(*WORDS)
    assert whole and code == 143 and "signal SIGTERM" in log and not (tmp_path / "exp").exists(), log


@pytest.mark.slow
@pytest.mark.parametrize("event", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_at_the_start_leaves_nothing_behind(event: int, tmp_path: Path) -> None:
    job = child(tmp_path, "train_net.build = lambda *_: (said('building'), time.sleep(600))\n")
    wait_for(tmp_path / "building")
    job.send_signal(event)
    _, log = job.communicate(timeout=300)
    assert job.returncode == 128 + event and "Traceback" not in log, log
    assert not (tmp_path / "exp").exists()


HANGS = """
import ctypes
from engine.hooks.logging import LoggingHook
def hang(hook, trainer):
    if trainer.step == 3:
        said("step")
        mutex = ctypes.create_string_buffer(64)
        for _ in range(2):  # the second time it waits for ever, and no handler of Python's can run
            ctypes.CDLL(None).pthread_mutex_lock(mutex)
LoggingHook.after_step = hang
"""


@pytest.mark.slow
def test_a_second_signal_ends_at_once_whatever_hangs(tmp_path: Path) -> None:
    job = child(tmp_path, HANGS)
    wait_for(tmp_path / "step")
    job.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert job.poll() is None
    job.send_signal(signal.SIGUSR1)
    assert job.wait(50) == 128 + signal.SIGUSR1
    job.communicate()


EVERY_WORKER = """
from engine.hooks.logging import LoggingHook
original = LoggingHook.after_step
def after_step(hook, trainer):
    original(hook, trainer)
    if trainer.step == 8:
        os.killpg(0, signal.SIGTERM)  # as a scheduler does: the whole group, and so the workers
LoggingHook.after_step = after_step
os.setpgid(0, 0)
"""


@pytest.mark.slow
def test_data_workers_ignore_the_signal(tmp_path: Path) -> None:
    workers = ["DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", "2"]
    whole = launch(tmp_path / "whole", *WORDS, *CRAFT)
    job = child(tmp_path, EVERY_WORKER, *CRAFT, *workers)
    _, log = job.communicate(timeout=300)
    assert job.returncode == 75 and "data worker" not in log and "Traceback" not in log, log
    stopped = newest(tmp_path / "exp")
    done = command("tools/train_net.py", "--resume", str(stopped), *workers)
    assert done.returncode == 0, done.stderr
    assert_equal(final(whole), final(stopped))


ONE_RANK = """
from engine.evaluation_losses import EvaluationLosses
from engine.hooks.logging import LoggingHook
import torch.distributed as dist
original, add, calls = LoggingHook.after_step, EvaluationLosses.add, []
def after_step(hook, trainer):
    original(hook, trainer)
    if trainer.step == 4:
        calls.clear()
    if trainer.step == 5:
        (HERE / "messages").write_text(" ".join(calls))
    if os.environ["AT"] == "step" and trainer.step == 8 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
def counted(losses, *args):
    if os.environ["AT"] == "batch" and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    add(losses, *args)
def noting(name, send):
    def call(*args, **words):
        calls.append(name)
        return send(*args, **words)
    return call
for name in ("all_reduce", "all_gather_object", "broadcast_object_list", "barrier", "broadcast"):
    setattr(dist, name, noting(name, getattr(dist, name)))
LoggingHook.after_step, EvaluationLosses.add = after_step, counted
"""


@pytest.mark.slow
def test_ranks_agree_on_the_step_without_a_message_of_its_own(tmp_path: Path) -> None:
    """A signal that comes to rank 1 only, in a step and in a validation."""
    words = [*CRAFT, "SOLVER.MAX_EPOCHS", "2"]
    whole = command(*RANKS, "tools/train_net.py", *WORDS, *words, "--output-dir", str(tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    for at, step in (("step", 9), ("batch", 6)):
        (tmp_path / at).mkdir()
        _, log = (job := child(tmp_path / at, ONE_RANK, *words, launcher=RANKS, AT=at)).communicate(timeout=300)
        run = newest(tmp_path / at / "exp")
        status = read_json(run / "status.json")
        assert (status["status"], status["reason"]) == ("interrupted", "signal SIGTERM"), log
        assert job.returncode != 0 and final(run)["progress"]["step"] == step, log
        assert (tmp_path / at / "messages").read_text() == "all_reduce"  # of the sample counts
    done = command(*RANKS, "tools/train_net.py", "--resume", str(run))
    assert done.returncode == 0, done.stderr
    assert_equal(final(newest(tmp_path / "whole")), final(run))
