"""When one rank raises, dies, hangs or logs other names, the job ends and says what was first."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from conftest import ROOT, TINY, command, newest, read_json

from config.defaults import get_defaults
from engine.launch import check_ranks_agree
from tracking import snapshot
from utils.errors import UserError

HOOK = """
import os, signal, time
import torch
from engine import distributed
from engine.hooks import HOOKS
from engine.hooks.base import Hook


@HOOKS.register("trouble")
class Trouble(Hook):
    def __init__(self, **_):
        pass

    def after_step(self, trainer):
        kind = os.environ["TROUBLE"]
        if distributed.rank() != 1 or trainer.step != 5:
            return
        if kind == "raise":
            raise ValueError("a bug on one rank only")
        if kind == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            time.sleep(600)
        if kind == "names":
            trainer.meter.add({"loss_odd": torch.tensor(1.0)}, 1)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code with a hook that makes trouble."""
    copy = tmp_path_factory.mktemp("ranks") / "tree"
    snapshot.take(ROOT, copy)
    (copy / "engine" / "hooks" / "trouble.py").write_text(HOOK)
    return copy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("raise", "ValueError: a bug on one rank only"),
        ("die", "another rank ended first: it died without a word, or hangs"),
        ("hang", "another rank ended first: it died without a word, or hangs"),
        ("names", "rank 1 logs loss_odd, unlike rank 0"),
    ],
)
def test_a_rank_in_trouble_ends_the_job_with_the_first_cause(kind: str, cause: str, tree: Path, tmp_path: Path) -> None:
    script = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tree / "tools" / "train_net.py")]
    words = [*TINY, "HOOKS", "[trouble]", "DISTRIBUTED.TIMEOUT", "5", "--output-dir", str(tmp_path)]
    done = command(*script, *words, cwd=tree, TROUBLE=kind)
    assert done.returncode != 0
    status = read_json(newest(tmp_path) / "status.json")
    assert status["status"] == "failed" and cause in status["reason"], status["reason"]
    assert cause in done.stderr
    traceback = done.stderr.partition("Traceback (most recent call last)")[2]
    assert not traceback or kind == "raise" or "torch.distributed.elastic" in traceback, done.stderr


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        done = command("tools/train_net.py", *TINY, "--output-dir", str(tmp_path / "exp"), cwd=ROOT, **place)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"cannot meet at 127.0.0.1:{port}" in done.stderr and "--standalone" in done.stderr
    assert not (tmp_path / "exp").exists()


def test_ranks_of_different_configs_are_told_which_key(monkeypatch: pytest.MonkeyPatch) -> None:
    one = get_defaults()
    other = {**one.flat(), "SOLVER.BASE_LR": 0.2}
    monkeypatch.setattr("engine.distributed.gather", lambda value: [value, value, other])
    with pytest.raises(UserError, match=r"rank 2 was started with SOLVER.BASE_LR 0.2 \(rank 0: 0.01\); start all ranks"):
        check_ranks_agree(one)
    monkeypatch.undo()
    check_ranks_agree(one)


TOOL = """
import atexit, sys
import _root
from engine import distributed
import torch

atexit.register(print, "torn down")

def main(argv):
    with distributed.session(torch.device("cpu")):
        print("said", end="")
    return 7

_root.run_tool(main)
"""


@pytest.mark.parametrize("ranks", ["1", "2"])
def test_a_rank_says_all_and_ends_without_teardown(ranks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tools"))
    script = tmp_path / "tool.py"
    script.write_text(TOOL)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks] if ranks != "1" else []
    done = command(*launcher, str(script))
    assert (done.returncode == 7) if ranks == "1" else ("exitcode  : 7" in done.stderr), done.stderr
    assert done.stdout.count("said") >= 1 and ("torn down" in done.stdout) == (ranks == "1"), done.stdout


def test_a_reading_command_minds_no_ranks(tmp_path: Path) -> None:
    done = command("tools/exp.py", "ls", "--output-dir", str(tmp_path), WORLD_SIZE="x")
    assert "Traceback" not in done.stderr, done.stderr
