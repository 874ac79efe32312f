"""A submitted job runs code and config as they were, one process a GPU, goes on when preempted, and is in the record."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, TINY, command, newest, read_json

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
Train = Callable[..., tuple[int, str, str]]
TRAIN = str(ROOT / "tools" / "train_net.py")
LONG = ["SOLVER.MAX_EPOCHS", "100000", "SOLVER.CHECKPOINT_SECONDS", "0.2"]

SBATCH = """#!/bin/sh
cp "$1" {folder}/script.sh
echo Submitted batch job 41
"""
SRUN = """#!{python}
import os, subprocess, sys
words, log = sys.argv[1:], ""
while words[0].startswith("--"):
    word = words.pop(0)
    log = words.pop(0) if word == "--output" else log
def start(rank):
    place = {{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}}
    path = log.replace("%j", "41").replace("%t", str(rank))
    return subprocess.Popen(words, env={{**os.environ, **place}}, stdout=open(path, "a"), stderr=subprocess.STDOUT)
tasks = [start(rank) for rank in range(2)]
sys.exit(max(task.wait() for task in tasks))
"""
SCONTROL = """#!/bin/sh
echo "$@" >> {folder}/calls
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the commands of a SLURM of one node: sbatch keeps the script, which the test then runs."""
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text.format(folder=tmp_path, python=sys.executable))
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def submit(train: Train) -> Train:
    """tools/submit.py in this process, the output folder being the command's."""
    import submit as tool

    return lambda *words: train(*words, main=tool.main)


def wait_until(true: Callable[[], object], seconds: float = 300) -> None:
    """Until `true()` is."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("text", "minutes"), [("90", 90), ("1:30", 2), ("12:00:00", 720), ("0:00:01", 1), ("2-0", 2880), ("1-2:3:4", 1564)]
)
def test_times_are_those_of_slurm(text: str, minutes: int) -> None:
    from _submit_arguments import parse_time

    assert parse_time(text) == minutes


def test_the_script_says_what_was_asked(submit: Train, slurm: Path) -> None:
    flags = "--nodes 2 --gpus 8 --time 12:00:00 --partition a100 --account us --cpus-per-gpu 4 --mem 64G --slurm qos=high"
    code, log, out = submit(*flags.split(), "--slurm", "exclusive", "--", TRAIN, *TINY)
    assert code == 0, log
    script = (slurm / "script.sh").read_text()
    for line in (
        "nodes=2", "ntasks-per-node=8", "gpus-per-node=8", "time=720", "partition=a100", "account=us", "cpus-per-task=4",
        "mem=64G", "qos=high", "exclusive", "requeue", "signal=USR1@120", "job-name=tiny", "open-mode=append",
    ):  # fmt: skip
        assert f"#SBATCH --{line}\n" in script
    assert "--kill-on-bad-exit=1 --cpus-per-task=4" in script
    assert "41_0_log.out" in out and "squeue -j 41" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--", TRAIN, *TINY, "NO.KEY", "1"], "NO.KEY"),
        (["--", TRAIN, "--config-file", "configs/none.yml"], "configs/none.yml"),
        (["--nodes", "9", "--gpus", "8", "--", TRAIN, *TINY], "72 ranks"),
        (["--", "tools/none.py"], "no such tool"),
        (["--", "/bin/true"], "no such tool"),
        (["--"], "no such tool"),
        (["--time", "soon", "--", TRAIN, *TINY], "--time soon"),
        (["--time", "0", "--", TRAIN, *TINY], "--time 0"),
        (["--gpus", "-1", "--", TRAIN, *TINY], "--gpus"),
        (["--gpu", "1", "--", TRAIN, *TINY], "--gpu"),
        (["--name", "../up", "--", TRAIN, *TINY], "../up"),
        (["--cluster", "local", "--nodes", "2", "--", TRAIN, *TINY], "--nodes 1"),
        (["--cluster", "debug", "--gpus", "2", "--", TRAIN, *TINY], "--cluster local"),
        (["--nodes", "2", "--", str(ROOT / "tools" / "exp.py"), "ls"], "--nodes 1"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_queued(words: list[str], said: str, submit: Train, slurm: Path) -> None:
    code, log, _ = submit(*words)
    assert code == 2 and log.count("\n") == 1 and said in log
    assert not (slurm / "exp").exists() and not (slurm / "script.sh").exists()


def test_without_slurm_or_where_it_refuses_there_is_one_line(
    submit: Train, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slurm / "bin" / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2; exit 1\n")
    code, log, _ = submit("--", TRAIN, *TINY)
    assert code == 2 and log.count("\n") == 1 and "invalid partition" in log
    assert not list((slurm / "exp" / ".jobs").iterdir())
    monkeypatch.setenv("PATH", str(slurm))
    code, log, _ = submit("--", TRAIN, *TINY)
    assert code == 2 and log.count("\n") == 1 and "sbatch" in log


@pytest.mark.slow
def test_a_job_runs_what_was_submitted_and_goes_on_when_it_is_preempted(slurm: Path) -> None:
    from tracking import snapshot

    repository, exp = slurm / "repository", slurm / "exp"
    snapshot.take(ROOT, repository)
    recipe = repository / "configs" / "mine.yml"
    recipe.write_text("SOLVER:\n  MAX_EPOCHS: 100000\n  MAX_STEPS: 900\n  CHECKPOINT_SECONDS: 0.2\nNAME: tiny\n")
    words = [w for w in TINY if w not in ("SOLVER.MAX_EPOCHS", "3", "NAME", "tiny")]
    done = command(
        "tools/submit.py", "--gpus", "2", "--", "tools/train_net.py", "--config-file", "configs/mine.yml", *words,
        "--output-dir", str(exp), cwd=repository,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (repository / "tools" / "train_net.py").write_text("raise SystemExit(9)")
    recipe.write_text("NO: 1\n")

    job = {"SLURM_JOB_ID": "41", "SLURM_NTASKS": "2", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "localhost"}
    first = subprocess.Popen(["sh", slurm / "script.sh"], cwd=repository, env={**os.environ, **job})
    wait_until(lambda: list(exp.glob("tiny_*/weights/last.pt")))
    os.kill(read_json(newest(exp) / "run.json")["pid"], signal.SIGUSR1)
    assert first.wait(300) == 75
    assert (slurm / "calls").read_text() == "requeue 41\n"

    again = subprocess.run(["sh", slurm / "script.sh"], cwd=repository, env={**os.environ, **job, "SLURM_RESTART_COUNT": "1"})
    log = next(exp.glob(".jobs/*/41_0_log.out"))
    assert again.returncode == 0, log.read_text()
    (run,) = [path for path in exp.iterdir() if not path.name.startswith(".")]
    status, facts = read_json(run / "status.json"), read_json(run / "run.json")
    assert (status["status"], status["progress"]["step"], facts["world_size"]) == ("finished", 900, 2)
    assert [(s["slurm_job_id"], s["job_log"], s["code_digest"]) for s in status["sessions"]] == [
        ("41", str(log), facts["code_digest"])
    ] * 2


@pytest.mark.slow
def test_a_local_job_has_its_log_in_the_record_and_saves_when_it_is_killed(tmp_path: Path) -> None:
    words = [*TINY, *LONG, "--output-dir", str(tmp_path)]
    done = command("tools/submit.py", "--cluster", "local", "--gpus", "2", "--", "tools/train_net.py", *words)
    assert done.returncode == 0, done.stderr
    number = int(re.search(r"^job +(\d+)$", done.stdout, re.MULTILINE)[1])  # type: ignore[index]
    try:
        wait_until(lambda: list(tmp_path.glob("tiny_*/weights/last.pt")))
        run = newest(tmp_path)
        log = Path(read_json(run / "status.json")["sessions"][0]["job_log"])
        assert "╭" in log.read_text() and str(log) in done.stdout
        assert read_json(run / "run.json")["world_size"] == 2
        assert read_json(run / "run.json")["git"]["commit"] or not (ROOT / ".git").exists()
    finally:
        os.kill(number, signal.SIGTERM)
    wait_until(lambda: read_json(run / "status.json")["status"] == "interrupted")


@pytest.mark.slow
def test_a_debug_job_is_this_very_process(tmp_path: Path) -> None:
    words = ["tools/submit.py", "--cluster", "debug", "--", "tools/train_net.py", *TINY, "--output-dir", str(tmp_path)]
    done = command(*words)
    assert done.returncode == 0 and "finished" in done.stderr, done.stderr
