"""A sweep tries every point once, whatever happens to it: killed, it goes on; a trial that fails is an outcome."""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY, command, newest, read_json

pytest.importorskip("optuna", reason="the extra `search` is not installed")
LR = "SOLVER.BASE_LR"
SHORT = ["--epochs", "2", *TINY[:8]]


@pytest.fixture
def sweep(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`sweep(*words)` makes a sweep in tmp_path/exp, but does not begin it: (exit code, stderr)."""
    import sweep as tool

    def begin(*_: Any) -> None:
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", begin)
    return lambda *words: train(*words, main=tool.main)[:2]


@pytest.fixture
def go_on(tmp_path: Path) -> Callable[..., int]:
    """`go_on()` goes on with the sweep that was made, in this process: the exit code."""
    import sweep as tool

    import config
    from engine.search import plan

    def run() -> int:
        args = config.parse_arguments(["--resume", "tiny", "--output-dir", str(tmp_path / "exp")], "sweep")
        return tool.run(args, plan.load(tmp_path / "exp", "tiny"))

    return run


def loop_of(folder: Path, name: str = "tiny") -> Any:
    """One more process at the sweep in folder/exp, as far as its loop goes: no trial is started."""
    from engine.search import plan
    from engine.search.loop import Loop
    from engine.search.spec import parse_search
    from engine.search.study import open_study

    sweep = plan.load(folder / "exp", name)
    dimensions = parse_search([f"{key}={text}" for key, text in sweep.search.items()])
    return Loop(sweep, open_study(sweep), dimensions, lambda *_: pytest.fail("no trial was to begin"))


def draw(loop: Any, limit: int, score: bool = False) -> float | None:
    """The value of the next point, whose run is then going on, or has ended with a score; None where there is none left."""
    found = loop._next(limit)
    if found is None:
        return None
    point, run = found
    if score:
        run.outcome, run.score = "finished", -abs(math.log(point.params[LR]))
        loop._conclude(point)
    else:
        loop.running[point.number] = (point, run, None)
    return float(point.params[LR])


def runs_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to do"),
        (["--search"], "takes a FILE or KEY=SPEC"),
        (["--search", LR, "0.1"], "write KEY=grid(1,2) as one word"),
        (["--search", "SOLVER.BASELR=grid(1)"], "did you mean SOLVER.BASE_LR"),
        (["--search", f"{LR}=grid(a)"], "expects a number, got 'a'"),
        (["--search", f"{LR}=uniform(-1,1)"], "a number above 0"),
        (["--search", "SOLVER.MAX_EPOCHS=uniform(1,5)"], "write int(least,greatest)"),
        (["--search", f"{LR}=grid(0.1"], "no SPEC"),
        (["--search", f"{LR}=gird(0.1)"], "no SPEC"),
        (["--search", f"{LR}=grid()"], "has no values"),
        (["--search", f"{LR}=grid(1,1.0)"], "a value stands twice"),
        (["--search", f"{LR}=uniform(1,0.1)"], "is empty"),
        (["--search", f"{LR}=loguniform(0,1)"], "least value above 0"),
        (["--search", "SOLVER.MAX_EPOCHS=int(1.5,2)"], "two whole numbers"),
        (["--search", "SEED=grid(0,1)"], "--seeds N repeats"),
        (["--search", "nowhere.yml"], "neither a file nor KEY=SPEC"),
        (["--search", f"{LR}=grid(1)", f"{LR}=grid(2)"], "given twice"),
        (["--search", f"{LR}=grid(1)", LR, "2"], "set on the command line and searched"),
        (["--search", f"{LR}=uniform(0.1,1)", "--sampler", "grid"], "no end of values"),
        (["--folds", "1"], "--folds 1: expects at least 2"),
        (["--seeds", "two"], "invalid int value"),
        (["--seeds", "2", "DATASETS.VAL_FRACTION", "0"], "never by the test set"),
        (["--folds", "2", "DATASETS.VAL", "digits"], "unset one"),
        (["--resume", "nothing"], "no sweep 'nothing'"),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_a_wrong_sweep_is_one_line_and_leaves_nothing(
    sweep: Callable[..., Any], tmp_path: Path, words: list[str], said: str
) -> None:
    code, errors = sweep(*words)
    assert code == 2 and errors.count("\n") == 1 and said in errors, errors
    assert not (tmp_path / "exp").exists()


def test_a_sweep_that_goes_on_is_the_same_sweep(sweep: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "s.yml").write_text("SOLVER:\n  BASE_LR: grid(0.1, 1e-2)\nMODEL.HIDDEN: choice([8], [8, 4])\n")
    again = ["--resume", "tiny"]
    assert sweep("--search", str(tmp_path / "s.yml"), "--trials", "3", *TINY) == (0, "")
    facts = read_json(tmp_path / "exp" / ".sweeps" / "tiny" / "sweep.json")
    assert facts["search"] == {LR: "grid(0.1, 1e-2)", "MODEL.HIDDEN": "choice([8], [8, 4])"} and facts["sampler"] == "tpe"
    for words, said in (
        (["--seeds", "2", *TINY], "go on with tools/sweep.py --resume tiny"),
        ([*again, "--seeds", "2"], "--seeds is 1 there, not 2"),
        ([*again, "--search", f"{LR}=grid(0.1,1)"], f"it searches {LR} grid(0.1, 1e-2), not grid(0.1,1)"),
        ([*again, "SOLVER.MOMENTUM", "0.5"], "SOLVER.MOMENTUM cannot be changed"),
        ([*again, "--storage", "sqlite:///x.db"], "its own journal file"),
    ):
        code, errors = sweep(*words)
        assert code == 2 and errors.count("\n") == 1 and said in errors, errors
    assert sweep(*again) == (0, "") and sweep(*again, "--search", str(tmp_path / "s.yml")) == (0, "")


def test_a_yaml_that_is_edited_meanwhile_changes_no_trial(sweep: Callable[..., Any], tmp_path: Path) -> None:
    import config
    from engine.search import plan

    (tmp_path / "base.yml").write_text("SOLVER: {MOMENTUM: 0.5}\n")
    (tmp_path / "x.yml").write_text("_BASE_: base.yml\nMODEL.HIDDEN: [8]\n")
    assert sweep("--config-file", str(tmp_path / "x.yml"), "--seeds", "2", *TINY) == (0, "")
    made = plan.load(tmp_path / "exp", "tiny")
    words = [made.command(0, {}, seed, 0) for seed in (0, 1)] + [made.repeat({}, 0, 0)]
    seen = []
    for number, line in enumerate(words):
        cfg = config.load(config.parse_arguments(line))
        seen.append((cfg.SOLVER.MOMENTUM, cfg.MODEL.HIDDEN, cfg.SEED, cfg.NAME, cfg.origins["SOLVER.WEIGHT_DECAY"]))
        (tmp_path / "base.yml").write_text(f"SOLVER: {{MOMENTUM: 0.{number}}}\nSOLVER.WEIGHT_DECAY: 0.1\n")
    assert seen == [(0.5, (8,), 0, "tiny", "default"), (0.5, (8,), 1, "tiny", "default"), (0.5, (8,), 0, "x", "default")]


def test_the_best_is_repeated_into_the_folder_of_its_sweep() -> None:
    from engine.search.plan import Sweep

    facts: dict[str, Any] = dict.fromkeys(Sweep.__dataclass_fields__, "") | {"settings": {"OUTPUT_DIR": ""}, "words": []}
    for folder, expected in (("exp", []), ("/elsewhere/exp", ["--output-dir=/elsewhere/exp"])):  # resumed from another folder
        made = Sweep(**{**facts, "folder": folder, "folds": 0})
        assert made.repeat({}, 0, 0) == [*expected, "SEED", "0"]


@pytest.mark.parametrize(("url", "kept"), [
    ("postgresql://h/db?user=a&password=x1", "postgresql://h/db?user=a&password=***"),
    ("mysql://h/db?PASSWD=x1&charset=utf8#x", "mysql://h/db?PASSWD=***&charset=utf8#x"),
    ("postgresql://a:x1@h/db?sslpassword=x1", "postgresql://***@h/db?sslpassword=***"),
    ("sqlite:///a.db?timeout=5", "sqlite:///a.db?timeout=5"),
], ids=["query", "capitals", "both", "none"])  # fmt: skip
def test_a_password_of_a_storage_is_kept_nowhere(url: str, kept: str) -> None:
    from utils.redact import redact

    assert redact(url) == kept == redact(kept)


def test_joining_leaves_a_sweep_whose_points_are_all_tried_elsewhere(
    sweep: Callable[..., Any], go_on: Callable[..., int], tmp_path: Path
) -> None:
    words = ["--search", f"{LR}=uniform(0.1,1)", "--trials", "2", "--storage", f"sqlite:///{tmp_path / 'x.db'}"]
    assert sweep(*words, *TINY) == (0, "")
    elsewhere = loop_of(tmp_path)
    assert draw(elsewhere, 2) and draw(elsewhere, 2) and not draw(elsewhere, 2)
    assert go_on() == 0
    result = read_json(tmp_path / "exp" / ".sweeps" / "tiny" / "result.json")
    assert not result["finished"] and [point["state"] for point in result["points"]] == ["open", "open"]


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_resumed_sweep_draws_the_same_points(name: str, sweep: Callable[..., Any], tmp_path: Path) -> None:
    drawn = []
    for made, stops in (("whole", []), ("stopped", [5, 12])):
        words = ["--search", f"{LR}=loguniform(0.01,1)", "--sampler", name, "--trials", "15", *TINY[:-1], made]
        assert sweep(*words) == (0, "")
        loop, points = loop_of(tmp_path, made), []
        for number in range(15):
            if number in stops:
                assert draw(loop, 15)  # is lost, and taken over
                loop = loop_of(tmp_path, made)
                assert loop._adopt() == 1
            points.append(draw(loop, 15, score=True))
        assert draw(loop, 15) is None
        drawn.append(points)
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 15


@pytest.mark.parametrize("spec", ["uniform(0.1,1)", "grid(0.1,0.2,0.3,0.4,0.5)"])
def test_two_processes_draw_unlike_points(
    spec: str, sweep: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep("--search", f"{LR}={spec}", "--storage", f"sqlite:///{tmp_path / 'x.db'}", *TINY) == (0, "")
    here, there = loop_of(tmp_path), loop_of(tmp_path)
    stale = there.study.get_trials()
    drawn = [draw(here, 5)]
    with monkeypatch.context() as patch:
        patch.setattr(there.study, "get_trials", lambda **_: stale)
        drawn.append(draw(there, 5))
    drawn += [draw(loop, 5) for loop in (here, there, here)]
    assert len(set(drawn)) == 5 and not draw(here, 5) and not draw(there, 5)


def test_a_point_whose_process_is_gone_is_taken_over_once(
    sweep: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.search import sharing

    words = ["--search", f"{LR}=uniform(0.1,1)", "--trials", "1", "--storage", f"sqlite:///{tmp_path / 'x.db'}"]
    assert sweep(*words, *TINY) == (0, "")
    with monkeypatch.context() as patch:
        patch.setattr(sharing, "host", lambda: "elsewhere")
        assert draw(loop_of(tmp_path), 1)
    here, there = loop_of(tmp_path), loop_of(tmp_path)
    assert here._adopt() == 0
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now + sharing.STALE + 60)
        assert [here._adopt(), there._adopt()] == [1, 0]
        patch.setattr(sharing, "host", lambda: "a third")
        assert there._adopt() == 0
    assert here._next(1)[0].number == 0


def test_a_run_of_an_earlier_sweep_of_the_name_is_not_taken(train: Callable[..., Any], tmp_path: Path) -> None:
    from engine.search.outcome import find_runs

    assert train(*TINY[:-2], "--tag", "tiny.0", "SOLVER.MAX_EPOCHS", "1")[0] == 0
    run = newest(tmp_path / "exp")
    began = datetime.fromisoformat(read_json(run / "run.json")["started"]).replace(tzinfo=None)
    assert find_runs(tmp_path / "exp", "tiny.0", began + timedelta(microseconds=1)) == {(0, 0): run.name}
    assert find_runs(tmp_path / "exp", "tiny.0", began + timedelta(seconds=1)) == {}


def test_a_trial_that_is_gone_before_it_is_answered_ends_alone(sweep: Callable[..., Any], tmp_path: Path) -> None:
    from types import SimpleNamespace

    assert sweep("--search", f"{LR}=uniform(0.1,1)", "--pruner", "median", *TINY) == (0, "")
    loop = loop_of(tmp_path)
    ours, theirs = Pipe()
    loop.running[0] = (*loop._next(1), SimpleNamespace(link=ours))
    theirs.send(("score", 1, 0.5))
    theirs.close()
    assert loop._take_message(0) and not loop._take_message(0)


def test_each_sample_is_held_out_in_one_fold_and_the_test_set_stays() -> None:
    import config
    from data import build_splits

    held: list[int] = []
    tests = set()
    for number in range(3):
        pairs = [("DATASETS.TRAIN", "digits"), ("DATASETS.FOLDS", 3), ("DATASETS.FOLD", number)]
        splits: Any = build_splits(config.load_file(None, pairs))
        assert not set(splits.train.indices) & set(splits.val.indices)
        shares = [splits.val.targets.count(c) / splits.train.targets.count(c) for c in range(10)]
        assert all(0.45 < share < 0.55 for share in shares)
        held += splits.val.indices
        tests.add(splits.test.digest())
    assert sorted(held) == list(range(len(held))) and len(held) == len(splits.train) + len(splits.val) and len(tests) == 1


def test_samples_of_several_classes_fall_into_folds_as_well() -> None:
    from data.splits import fold

    targets = [((row % 3,) if row % 2 else (row % 3, 3)) for row in range(60)] + [()]
    held = [fold(targets, 4, number, 0)[1] for number in range(4)]
    assert sorted(sum(held, [])) == list(range(61))
    assert all(14 <= sum(0 in targets[row] for row in part) * 3 <= 18 for part in held)


@pytest.mark.parametrize(("pairs", "said"), [
    ([("DATASETS.FOLDS", 1)], "at least 2, got 1"),
    ([("DATASETS.FOLD", 1)], "0 where DATASETS.FOLDS is 0"),
    ([("DATASETS.FOLDS", 3), ("DATASETS.FOLD", 3)], "expects 0 to 2, got 3"),
    ([("DATASETS.FOLDS", 1000), ("DATASETS.TRAIN", "synthetic:96x1x8x8x4")], "cannot be shared out"),
], ids=["one", "none", "beyond", "many"])  # fmt: skip
def test_folds_that_do_not_fit_are_said(pairs: list[tuple[str, Any]], said: str) -> None:
    import config
    from data import build_splits
    from utils.errors import UserError

    with pytest.raises(UserError, match=said):
        build_splits(config.load_file(None, pairs))


def test_a_sweep_requeues_its_job_and_its_trials_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.hooks.trial import be_trial
    from engine.slurm import requeue

    asked_for: list[list[str]] = []

    def scontrol(words: list[str], **_: Any) -> Any:
        asked_for.append(words)
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setattr(subprocess, "run", scontrol)
    be_trial(Pipe()[1])
    try:
        assert not requeue("signal SIGUSR1", 1)
    finally:
        be_trial(None)
    assert not asked_for and requeue("signal SIGUSR1", 1) and asked_for == [["scontrol", "requeue", "41"]]


def test_a_pruned_trial_can_be_gone_on_with(train: Callable[..., Any], tmp_path: Path) -> None:
    from engine.hooks.trial import be_trial

    ours, theirs = Pipe()
    ours.send("")
    ours.send("median: behind")
    be_trial(theirs)
    try:
        code = train(*TINY, "SOLVER.MAX_EPOCHS", "4")[0]
    finally:
        be_trial(None)
    run = newest(tmp_path / "exp")
    status = read_json(run / "status.json")
    assert code == 75 and (status["status"], status["reason"]) == ("interrupted", "pruning (median: behind)")
    assert status["progress"]["epoch"] == 2
    said = [ours.recv() for _ in range(3)]
    assert said[0] == ("began", run.name) and [words[:2] for words in said[1:]] == [("score", 1), ("score", 2)]
    assert train("--resume", run.name)[0] == 0
    assert read_json(run / "status.json")["progress"]["epoch"] == 4


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_the_best_can_be_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    words = ["tools/sweep.py", "--search", f"{LR}=grid(0.1,0.01)", "--seeds", "2", "--epochs", "20", "--tag", "mine"]
    words += [f"--output-dir={folder}", *TINY[:8], "NAME", "lr"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    until = time.monotonic() + 300
    while len(runs_in(folder)) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(read_json(runs_in(folder)[-1] / "run.json")["pid"], signal.SIGSTOP)  # so that it is not over before the sweep is
    resume = ["tools/sweep.py", "--resume", "lr", "--output-dir", str(folder)]
    busy = command(*resume)
    assert busy.returncode == 2 and busy.stderr.count("\n") == 1 and "lr is still running" in busy.stderr
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read_json(runs_in(folder)[-1] / "status.json")["status"] == "running"

    done = command(*resume, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    runs = [run for point in result["points"] for run in point["runs"]]
    assert sorted((read_json(folder / run["run"] / "run.json")["seed"]) for run in runs) == [0, 0, 1, 1]
    assert [path.name for path in runs_in(folder)] == sorted(run["run"] for run in runs)
    records = [read_json(path / "run.json") for path in runs_in(folder)]
    assert {"sweep", "lr", "mine"} <= set(records[0]["tags"]) and "point 0 of lr" in records[0]["why"]
    assert len({record["code_digest"] for record in records}) == 1 and not list(folder.glob("*/test.json"))
    assert all(Path(path).is_file() for path in result["pictures"])

    table = command(*resume)
    assert table.returncode == 0 and "95 % interval" in table.stdout and len(runs_in(folder)) == 4
    groups = json.loads(command("tools/exp.py", "groups", "--json", "--output-dir", str(folder)).stdout)
    assert sorted(group["n"] for group in groups) == [2, 2]
    best = max(result["best"]["runs"], key=lambda run: run["score"])
    line = result["repeat"].split("python ")[1]
    assert command(*shlex.split(line)).returncode == 0
    assert (
        read_json(newest(folder) / "status.json")["metrics"]["val/loss"]
        == (read_json(folder / best["run"] / "status.json")["metrics"]["val/loss"])
    )


@pytest.mark.slow
def test_a_preempted_sweep_requeues_once_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("SLURM_JOB_ID", "41")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    words = ["tools/sweep.py", "--search", f"{LR}=loguniform(0.01,1)", "--trials", "3", "--pruner", "median"]
    words += ["--jobs", "2", f"--output-dir={tmp_path / 'exp'}", "--epochs", "20", *TINY[:8]]
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.PIPE)
    until = time.monotonic() + 300
    while len(runs_in(tmp_path / "exp")) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    said = process.communicate()[1].decode()
    assert process.returncode == 75 and (tmp_path / "calls").read_text() == "requeue 41\n", said
    done = command(*words, "--json", SLURM_RESTART_COUNT="1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["finished"] and len(runs_in(tmp_path / "exp")) == 3
    assert {point["state"] for point in result["points"]} <= {"finished", "pruned"}


@pytest.mark.slow
def test_two_processes_share_a_sweep(tmp_path: Path) -> None:
    at = [f"--output-dir={tmp_path / 'exp'}", "--storage", f"sqlite:///{tmp_path / 'x.db'}"]
    words = ["--search", f"{LR}=loguniform(0.01,1)", "--trials", "4", "--epochs", "4", *TINY[:8], "NAME", "tiny"]
    first = subprocess.Popen([sys.executable, "tools/sweep.py", *at, *words], cwd=ROOT, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 300
    while not (tmp_path / "exp" / ".sweeps" / "tiny" / "sweep.json").is_file() and time.monotonic() < until:
        time.sleep(0.02)
    second = command("tools/sweep.py", "--resume", "tiny", *at)
    assert (first.wait(300), second.returncode) == (0, 0), second.stderr
    points = loop_of(tmp_path).study.get_trials()
    assert [point.state.name for point in points] == ["COMPLETE"] * 4 and len(runs_in(tmp_path / "exp")) == 4
    assert len({point.params[LR] for point in points}) == 4


@pytest.mark.slow
def test_a_trial_that_fails_is_an_outcome(tmp_path: Path) -> None:
    words = ["--search", f"{LR}=grid(1e6,0.1)", "LOSS.NAME=grid(nothing,cross_entropy)", "--folds", "2", "--jobs", "2"]
    done = command("tools/sweep.py", *words, "--json", f"--output-dir={tmp_path / 'exp'}", *SHORT)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    states = {(p["params"][LR], p["params"]["LOSS.NAME"]): p["state"] for p in result["points"]}
    assert states[0.1, "cross_entropy"] == "finished" and result["best"]["n"] == 2
    assert states[1e6, "cross_entropy"] == "diverged"
    assert states[1e6, "nothing"] == states[0.1, "nothing"] == "refused"
    assert "unknown loss 'nothing'" in next(p["reason"] for p in result["points"] if p["state"] == "refused")
    assert [run["fold"] for run in result["best"]["runs"]] == [0, 1]


@pytest.mark.slow
def test_a_storage_that_is_locked_is_one_line(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "x.db", isolation_level=None) as database:
        database.execute("BEGIN EXCLUSIVE")
        words = ["--seeds", "2", "--storage", f"sqlite:///{tmp_path / 'x.db'}", f"--output-dir={tmp_path / 'exp'}"]
        done = command("tools/sweep.py", *words, *TINY)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "database is locked" in done.stderr
    assert not (tmp_path / "exp").exists()


def test_what_became_of_a_trial_without_a_record_is_told_by_its_process(tmp_path: Path) -> None:
    from engine.search.outcome import TrialRun

    for code, said, outcome, reason in (
        (-9, "", "out of memory", "killed by SIGKILL: the system may have run out of memory"),
        (2, "starting\nerror: no such thing\n", "refused", "no such thing"),
        (1, "ERROR it broke\n", "failed", "it broke"),
        (75, "", "failed", "stopped from outside"),
    ):
        run = TrialRun(0, 0)
        run.end(tmp_path, code, said)
        assert (run.outcome, run.reason, run.score) == (outcome, reason, None)
