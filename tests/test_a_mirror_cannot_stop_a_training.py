"""Whatever a mirror does, the run ends with 0, with the same weights and the same record, and one WARNING."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, newest
from mirror_fakes import fake_library, fake_run, notes, set_status
from test_no_orphans import alive, descendants, seconds_until_gone
from test_resume_equals_uninterrupted import assert_equal, final

from engine.hooks import HOOKS, Hook
from tracking.mirrors import MIRRORS, Mirror, follow, process
from tracking.record import read_metrics

Train = Callable[..., tuple[int, str, str]]
WORDS = [*TINY, "SOLVER.LOG_PERIOD", "1", "TEST.FIGURES", "false", "HOOKS", "('parts_of_a_step',)"]
WAYS = {
    "well at none": "",
    "is slow at log": "",
    "raises at init": "mirror wandb: RuntimeError: no network for a long while; what it lacks can be sent later: tools/",
    "leaves at init": "mirror wandb: SystemExit: a library has had enough;",
    "has no space at log": "mirror wandb: OSError: [Errno 28] No space left on device;",
    "dies at log": "mirror wandb: its process died (code -11);",
    "raises at finish": "mirror wandb: RuntimeError",
    "hangs at init": "mirror wandb: it was not done in time",
    "holds the interpreter at log": "mirror wandb: it was not done in time, with 0 of ",
}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake library is installed; how it behaves says FAKE_WANDB. The folder of its notes."""
    for name, value in fake_library(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(tmp_path / "libraries"))
    monkeypatch.setattr(process, "PATIENCE", 60.0)  # what hangs is given less
    return tmp_path


class Parts(Hook):
    """Notes what a step and a row of numbers call."""

    seen: list[Any] = []

    def before_train(self, trainer: Any) -> None:
        """The hooks that act after a step; who listens to rows."""
        acting = [type(hook).__name__ for hook in trainer.hooks if hook.overrides("after_step")]
        self.seen.append((acting, len(trainer.listeners)))


HOOKS.register("parts_of_a_step")(lambda **_: Parts())


def rows(run: Path) -> list[dict[str, Any]]:
    """metrics.jsonl but for times."""
    timed = ("time", "time/step", "time/data", "samples_per_second", "memory_mb")
    return [{name: value for name, value in row.items() if name not in timed} for row in read_metrics(run / "metrics.jsonl")]


def warnings(log: str) -> list[str]:
    """The lines that warn."""
    return [line for line in log.splitlines() if "WARNING" in line]


@pytest.mark.slow
def test_no_way_to_fail_changes_a_run(train: Train, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, log, _ = train(*WORDS)
    assert code == 0 and not warnings(log)
    alone = newest(tmp_path / "exp")
    assert not (alone / "mirrors").exists()
    others = descendants(os.getpid())
    for how, expected in WAYS.items():
        if how.startswith("hangs"):  # and from there on
            monkeypatch.setattr(process, "PATIENCE", 0.5)
        monkeypatch.setenv("FAKE_WANDB", how)
        code, log, _ = train(*WORDS, "MIRRORS", "wandb")
        assert code == 0, (how, log)
        run = newest(tmp_path / "exp")
        assert run != alone and "finished" in (run / "status.json").read_text()
        assert_equal(final(run), final(alone), how)
        assert rows(run) == rows(alone), how
        assert len(warnings(log)) == bool(expected) and expected in "".join(warnings(log)), (how, log)
        assert "a library talks" not in log and warnings((run / "log.txt").read_text()) != [] or not expected
        assert not alive(descendants(os.getpid()) - others), how
        assert Parts.seen[-1] == Parts.seen[0], "a step calls something else with a mirror"


def test_a_process_that_cannot_be_started_is_one_warning(train: Train, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.sys, "executable", "/nowhere/python")
    code, log, _ = train(*WORDS, "MIRRORS", "wandb")
    assert code == 0 and len(warnings(log)) == 1 and "it cannot be started (No such file" in log


def test_a_call_that_hangs_ends_the_mirror_while_the_run_goes_on(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAKE_WANDB", "hangs at init")
    monkeypatch.setattr(process, "_START", process._START + "; f.HANG = 1")
    monkeypatch.setattr(process.LOG.parent, "propagate", True)
    (mirror,) = process.start_mirrors(fake_run(tmp_path), ["wandb"])
    mirror._listener.join(20)
    assert mirror.failed and "a call into its library took more than" in caplog.text
    process.finish_mirrors([mirror])
    assert len({record.getMessage() for record in caplog.records if record.levelname == "WARNING"}) == 1


@pytest.mark.parametrize("how", ["fork", "start"])
def test_what_a_mirror_started_does_not_outlive_it(
    how: str, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It died of itself; a child that was forked still holds its ends of the pipes."""
    monkeypatch.setenv("FAKE_WANDB", f"dies after a {how} at init")
    mirrors = process.start_mirrors(fake_run(tmp_path), ["wandb"])
    assert mirrors[0]._child is not None
    with suppress(ChildProcessError):  # the listener was faster
        os.waitid(os.P_PID, mirrors[0]._child.pid, os.WEXITED | os.WNOWAIT)
    process.finish_mirrors(mirrors, 0.5)
    ((child,),) = notes(library, "child")
    assert seconds_until_gone({child}) < 5


@pytest.mark.parametrize("how", ["well at none", "hangs at log", "holds the interpreter at log"])
def test_a_mirror_does_not_outlive_a_killed_training(how: str, library: Path, tmp_path: Path) -> None:
    run = fake_run(tmp_path, rows=3)
    script = (
        f"import sys, time; sys.path.insert(0, {str(ROOT)!r})\nfrom pathlib import Path\n"
        f"from tracking.mirrors.process import start_mirrors\nstart_mirrors(Path({str(run)!r}), ['wandb'])\n"
        "print(flush=True)\ntime.sleep(600)"
    )
    job = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env={**os.environ, "FAKE_WANDB": how})
    assert job.stdout is not None and job.stdout.readline()
    started = descendants(job.pid)
    job.kill()
    job.communicate()
    assert len(started) == 1 and seconds_until_gone(started) < 50
    if how == "well at none":
        (finish,) = notes(library, "finish")
        assert finish[1]["status"] == "lost"


def test_the_end_leaves_a_call_no_more_time_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The training is killed just when a call is about to be given its time."""
    inlet, outlet = os.pipe()
    alarms: list[int] = []

    def alarm(seconds: int) -> None:
        if seconds == follow.HANG:
            os.close(outlet)
            time.sleep(0.2)  # the other thread reads that meanwhile
        alarms.append(seconds)

    with open(inlet) as orders:
        monkeypatch.setattr(follow.signal, "alarm", alarm)
        told = follow.Orders(orders)
        told.still_there()
        told.wait(10)
        told.still_there()
    assert alarms == [follow.HANG, follow.ORPHAN]


def test_ctrl_c_in_the_terminal_is_not_for_the_mirror(library: Path, tmp_path: Path) -> None:
    run = fake_run(tmp_path, rows=3)
    (mirror,) = process.start_mirrors(run, ["wandb"])
    assert mirror._child is not None and os.getpgid(mirror._child.pid) != os.getpgid(0)
    while not notes(library, "row"):
        assert mirror._child.poll() is None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):  # of a cluster, to all processes of a job
        os.kill(mirror._child.pid, number)
    set_status(run, "interrupted")
    process.finish_mirrors([mirror])
    assert not mirror.failed and notes(library, "preempting") and notes(library, "finish")[0][0] == 1


class Lacking(Mirror):
    """Needs what nobody has."""

    library = "no_such_library"

    def __init__(self, place: str = "") -> None:
        self.place = place


MIRRORS.register("lacking")(Lacking)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("lacking", "lacking needs a library that is not installed (pip install no_such_library)"),
        ("wandbb", "unknown mirror 'wandbb'; did you mean wandb?"),
        ("[{lacking: {plaec: x}}]", "lacking takes no 'plaec'; did you mean place? (place)"),
        ("[{lacking: x}]", "a mirror is a name or {name: {argument: value}}, got {'lacking': 'x'}"),
        ("[wandb, {wandb: {project: x}}]", "wandb stands there 2 times"),
        ("[3]", "MIRRORS expects a list of names or dict"),
    ],
)
def test_what_is_wrong_is_said_before_there_is_a_run(
    value: str, said: str, train: Train, library: Path, tmp_path: Path
) -> None:
    (tmp_path / "libraries" / "no_such_library").mkdir()  # a folder of that name, as wandb/ often lies about, is none
    code, error, _ = train(*TINY, "MIRRORS", value)
    assert code == 2 and said in error and error.count("\n") == 1, error
    assert not (tmp_path / "exp").exists()
