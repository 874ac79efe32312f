"""DISTRIBUTED.STRATEGY fsdp trains the weights of ddp, in half of the memory on two ranks, and resumes on any number."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, command, newest, read_json
from test_ranks_agree import launch
from test_resume_equals_uninterrupted import assert_equal

from engine.checkpoint import load_newest
from engine.sharded_checkpoint import join

pytest.importorskip("safetensors", reason="the extra `export` is not installed")
Train = Callable[..., tuple[int, str, str]]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
FSDP = ["DISTRIBUTED.STRATEGY", "fsdp"]
# Uneven batches and weights, batch normalisation, an average, clipping, something frozen, old checkpoints that are deleted.
WORDS = [
    "MODEL.NAME", "example_model", "MODEL.ARGS", "{width: 7}", "SOLVER.IMS_PER_BATCH", "17", "SOLVER.ACCUMULATE", "2",
    "SOLVER.EMA_DECAY", "0.9", "SOLVER.CLIP_NORM", "1.0", "MODEL.FREEZE", "[stem.*]", "TEST.IMS_PER_BATCH", "5",
    "SOLVER.TOP_K", "1", "DATASETS.TRAIN", "synthetic:40x1x8x8x4",
]  # fmt: skip


def last(run: Path) -> dict[str, Any]:
    """All that the newest checkpoint holds, as whole tensors, but for what may differ."""
    name, content = load_newest(run / "weights") or ("", {})
    state: dict[str, Any] = join(content, run / "weights" / name)
    for key in ("meta", "schema", "checkpoints"):  # a run that stops validates where it does
        state.pop(key)
    return state


@pytest.mark.slow
def test_sharded_weights_train_evaluate_and_load_as_whole_ones_do() -> None:
    done = command(*TORCHRUN, "tests/sharded_checks.py")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[:1] == ["check_memory"] and len(done.stdout.split()) >= 7, done.stdout


@pytest.mark.slow
def test_fsdp_equals_ddp_and_resumes_exactly_and_on_another_number_of_ranks(train: Train, tmp_path: Path) -> None:
    plain = launch(tmp_path / "plain", *WORDS, ranks=2)
    whole = launch(tmp_path / "whole", *WORDS, *FSDP, ranks=2)
    assert_alike(plain, whole)
    log = (whole / "log.txt").read_text()
    assert "fsdp, 4 units; this rank keeps" in log and "could not be deleted" not in log
    assert [len(list((run / "weights").glob("epoch_*"))) for run in (plain, whole)] == [2, 2]  # of three
    assert not (whole / "log_rank1.txt").exists() or "WARNING" not in (whole / "log_rank1.txt").read_text()
    stopped = launch(tmp_path / "stopped", *WORDS, *FSDP, "SOLVER.MAX_STEPS", "5", ranks=2)  # within the second epoch
    alone = tmp_path / "exp" / stopped.name
    shutil.copytree(stopped, alone)
    done = command(*TORCHRUN, "tools/train_net.py", "--resume", str(stopped), "SOLVER.MAX_STEPS", "0")
    assert done.returncode == 0, done.stderr[-3000:]
    assert_equal(last(whole), last(stopped))
    code, error, out = train("--resume", alone.name, "SOLVER.MAX_STEPS", "0")
    assert code == 0 and "step 5 from last of" in out + error, error
    assert (alone / "weights" / "last.pt").is_file() and not (alone / "weights" / "last").exists()


def assert_alike(plain: Path, sharded: Path) -> None:
    """Two runs, one sharded: the same weights, averages, moments and scores, but for sums in another order."""
    one, other = last(plain), last(sharded)
    assert one.keys() == other.keys() and one["optimizer"]["names"] == other["optimizer"]["names"]
    for part in ("model", "ema"):
        for name, value in one[part].get("average", one[part]).items():
            same = other[part].get("average", other[part])[name]
            assert torch.allclose(value.float(), same.float(), atol=1e-5), (part, name)
    for number, moments in one["optimizer"]["state"].items():
        assert torch.allclose(moments["momentum_buffer"], other["optimizer"]["state"][number]["momentum_buffer"], atol=1e-4)
    tests = [read_json(run / "test.json")["metrics"] for run in (plain, sharded)]
    assert tests[0]["test/top1"] == tests[1]["test/top1"]
    best = [torch.load(run / "weights" / "best.pt", weights_only=True) for run in (plain, sharded)]
    assert best[0]["model"].keys() == best[1]["model"].keys()
    assert all(type(value) is torch.Tensor for value in best[1]["model"].values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["MODEL.COMPILE", "true"], "MODEL.COMPILE true does not go together with DISTRIBUTED.STRATEGY fsdp"),
        (["MODEL.CHANNELS_LAST", "true"], "MODEL.CHANNELS_LAST true does not go together"),
        (["DISTRIBUTED.FIND_UNUSED", "true"], "DISTRIBUTED.FIND_UNUSED true does not go together"),
        (["SOLVER.PRECISION", "fp16"], "SOLVER.PRECISION fp16"),
        (["DISTRIBUTED.SYNC_BATCHNORM", "true"], "DISTRIBUTED.SYNC_BATCHNORM"),
        (["SOLVER.OPTIMIZER_NAME", "LBFGS"], "SOLVER.OPTIMIZER_NAME LBFGS does not work on sharded weights"),
        (["SOLVER.OPTIMIZER_NAME", "Adafactor"], "SOLVER.OPTIMIZER_NAME Adafactor does not work on sharded weights"),
    ],
)
def test_what_does_not_go_together_with_fsdp_is_one_line(words: list[str], said: str, train: Train, tmp_path: Path) -> None:
    """Also with one rank, which shards nothing: what is wrong on a cluster is found at the desk."""
    code, error, _ = train(*TINY, *FSDP, *words)
    assert code == 2 and error.count("\n") == 1 and said in error, error
    assert not (tmp_path / "exp").exists()


def test_shared_and_scalar_weights_are_refused_by_name() -> None:
    from torch import nn

    from engine.sharding import check_shardable
    from engine.task import Task
    from utils.errors import UserError

    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    check_shardable(Task(model, nn.Module()), "SGD")
    model[1].weight = model[0].weight
    with pytest.raises(UserError, match=r"cannot shard model\.1\.weight, which is one and the same as model\.0\.weight"):
        check_shardable(Task(model, nn.Module()), "SGD")
    model[1].weight = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(UserError, match=r"model\.1\.weight, a single number"):
        check_shardable(Task(model, nn.Module()), "SGD")


def test_one_rank_shards_nothing_and_writes_plain_files(train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*TINY, *FSDP, "SOLVER.MAX_EPOCHS", "1")
    assert code == 0, error
    assert sorted(p.name for p in (newest(tmp_path / "exp") / "weights").iterdir()) == [
        "best.pt", "epoch_0001.pt", "last.pt", "manifest.json",
    ]  # fmt: skip


def test_ranks_are_asked_for_batches_only_where_they_may_differ(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an epoch's last window, or in each where bad samples are left out."""
    asked: list[int] = []
    monkeypatch.setattr("engine.numbers.is_sharded", lambda _: True)

    def greatest(count: int, device: torch.device) -> int:
        asked.append(count)
        return count

    monkeypatch.setattr("engine.distributed.greatest", greatest)
    words = [*TINY, "SOLVER.MAX_EPOCHS", "2", "TEST.AT_END", "false"]
    assert train(*words)[0] == 0 and len(asked) == 2
    assert train(*words, "DATALOADER.BAD_SAMPLES", "skip")[0] == 0 and len(asked) == 2 + 2 * 6


def test_a_model_to_be_sharded_is_never_whole_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU that it does not fit on: what is handed to `shard` is on the CPU yet."""
    from config import load_file
    from data import build_splits
    from engine import build

    class Reached(Exception):
        pass

    def shard(task: Any, device: torch.device, precision: str) -> None:
        assert {p.device.type for p in task.parameters()} == {"cpu"} and device.type == "meta"
        raise Reached

    monkeypatch.setattr(build, "is_to_be_sharded", lambda _: True)
    for computes in ("check_hooks", "build_prepare"):  # on the device
        monkeypatch.setattr(build, computes, lambda *_, **__: None)
    monkeypatch.setattr("engine.sharding.shard", shard)
    words = [*TINY, *FSDP]
    cfg = load_file(None, list(zip(words[::2], words[1::2], strict=True)))
    splits = build_splits(cfg)
    with pytest.raises(Reached):
        build.build_trainer(cfg, build.build_task(cfg, splits), splits, torch.device("meta"))
