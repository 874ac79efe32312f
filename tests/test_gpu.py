"""What only a CUDA device shows. `pytest -m gpu` runs it; where there is none, all of it is skipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, TINY, command, newest, read_json
from test_device_loader_gives_equal_pixels import BOTH, assert_equal_batches, pair
from test_resume_equals_uninterrupted import assert_equal

from data.loaders.device import DeviceLoader
from data.to_device import SideStream
from engine.hooks import HOOKS, Hook

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
Train = Callable[..., tuple[int, str, str]]
SMALL = [
    *(word if word != "cpu" else "cuda" for word in TINY),
    "MODEL.NAME",
    "resnet20",
    "DATASETS.TRAIN",
    "synthetic:96x3x16x16x4",
]
EXACT = ["DETERMINISTIC", "true"]
RANKS = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1"]


def scores(run: Path) -> dict[str, float]:
    """Of the test at the end."""
    return dict(read_json(run / "test.json")["metrics"])


def last(run: Path) -> dict[str, Any]:
    """last.pt, but for what may differ."""
    content: dict[str, Any] = torch.load(run / "weights" / "last.pt", weights_only=True, map_location="cpu")
    content.pop("meta")
    return content


@pytest.mark.parametrize(
    "words",
    [
        ["SOLVER.PRECISION", "bf16"],
        ["SOLVER.PRECISION", "fp16", "SOLVER.CLIP_NORM", "1.0"],
        ["MODEL.CHANNELS_LAST", "true", "SOLVER.OPTIMIZER_NAME", "AdamW", "SOLVER.BASE_LR", "0.001"],
        ["MODEL.COMPILE", "true"],
        ["SOLVER.EMA_DECAY", "0.9", "SOLVER.NONFINITE", "skip", "SOLVER.ACCUMULATE", "2"],
    ],
    ids=["bf16", "fp16", "channels_last", "compile", "ema"],
)
def test_each_way_of_training_learns_on_the_device(words: list[str], train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*SMALL, *words, "SOLVER.MAX_EPOCHS", "5")
    assert code == 0, error
    run = newest(tmp_path / "exp")
    assert "on cuda" in (run / "log.txt").read_text() and scores(run)["test/top1"] > 0.5


def test_a_resumed_run_equals_an_uninterrupted_one_on_the_device(train: Train, tmp_path: Path) -> None:
    words = [*SMALL, *EXACT, "MODEL.DROP_PATH", "0.2", "SOLVER.EMA_DECAY", "0.9"]
    cublas = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    runs = []
    for name, more in (("whole", []), ("stopped", ["SOLVER.MAX_STEPS", "6"])):
        done = command("tools/train_net.py", *words, *more, "--output-dir", str(tmp_path / name), cwd=ROOT, **cublas)
        assert done.returncode == 0, done.stderr
        runs.append(newest(tmp_path / name))
    done = command("tools/train_net.py", "--resume", str(runs[1]), "SOLVER.MAX_STEPS", "0", cwd=ROOT, **cublas)
    assert done.returncode == 0, done.stderr
    assert_equal(last(runs[0]), last(runs[1]))


def test_the_device_scores_as_the_cpu_does(train: Train, tmp_path: Path) -> None:
    """The same weights; sums of another order may move a loss, but no answer that is not on the edge."""
    assert train(*SMALL)[0] == 0
    run, found = newest(tmp_path / "exp"), []
    for device in ("cuda", "cpu"):
        done = command("tools/test_net.py", str(run), "--json", "MODEL.DEVICE", device)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout)["metrics"])
    assert found[0].keys() == found[1].keys()
    assert found[0]["test/top1"] == pytest.approx(found[1]["test/top1"], abs=0.011)  # one sample
    assert found[0]["test/loss"] == pytest.approx(found[1]["test/loss"], rel=1e-2)


def test_batches_of_workers_are_the_same_through_pinned_memory(train: Train, tmp_path: Path) -> None:
    states = []
    workers = ["DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", "2"]
    for words, kind in (([], "device"), (["DATALOADER.LOADER", "memory"], "memory"), (workers, "processes")):
        keys = ["SOLVER.MAX_EPOCHS", "1", "INPUT.TRANSFORMS_TRAIN", BOTH]
        assert train(*SMALL, *EXACT, *keys, *words)[0] == 0
        assert f"loader {kind} (" in (newest(tmp_path / "exp") / "log.txt").read_text()
        states.append(last(newest(tmp_path / "exp"))["model"])
    assert all(torch.equal(value, other[name]) for other in states[1:] for name, value in states[0].items())


@pytest.mark.parametrize("transforms", ["[]", BOTH], ids=["bare", "both"])
def test_pixels_on_the_device_are_those_of_the_host(transforms: str) -> None:
    device = torch.device("cuda")
    host, _ = pair(INPUT__TRANSFORMS_TRAIN=transforms)
    there = DeviceLoader(host.plan, host.fetcher, "", device)
    ahead, _ = pair(INPUT__TRANSFORMS_TRAIN=transforms)
    ahead.side = SideStream(device)
    for loader in (there, ahead):
        assert_equal_batches((host, loader), epoch=2, first=1)


class Strict(Hook):
    """Makes an error of whatever waits for the device between two steps that log nothing."""

    def after_step(self, trainer: Any) -> None:
        """Begins when everything was done once."""
        if trainer.step in (4, 12):
            torch.cuda.set_sync_debug_mode("error" if trainer.step == 4 else "default")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["DATALOADER.LOADER", "memory", "SOLVER.PRECISION", "bf16", "MODEL.CHANNELS_LAST", "true"],
        ["DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", "2", "SOLVER.EMA_DECAY", "0.9"],
        ["INPUT.CUTMIX_ALPHA", "1", "SOLVER.OPTIMIZER_NAME", "AdamW", "SOLVER.CLIP_NORM", "1", "SOLVER.ACCUMULATE", "2"],
    ],
    ids=["device", "memory", "processes", "mixing"],
)
def test_a_step_waits_for_nothing_on_the_device(words: list[str], train: Train) -> None:
    name = f"strict_{words[1] if words else 'device'}"
    HOOKS.register(name)(lambda **_: Strict())
    keys = ["DATASETS.TRAIN", "synthetic:320x3x16x16x4", "INPUT.TRANSFORMS_TRAIN", BOTH, "SOLVER.LOG_PERIOD", "1000"]
    try:
        code, error, _ = train(*SMALL, *keys, *words, "SOLVER.MAX_EPOCHS", "1", "HOOKS", f"('{name}',)")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert code == 0, error


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_step_that_is_not_finite_moves_no_weight_on_the_device(policy: str, train: Train, tmp_path: Path) -> None:
    words = ["MODEL.NAME", "mlp", "SOLVER.BASE_LR", "1e6", "SOLVER.WEIGHT_DECAY", "100", "SOLVER.NONFINITE", policy]
    code, error, _ = train(*SMALL, *words)
    assert code == 1 and "not finite" in error, error
    assert "Traceback" not in error


def test_nccl_with_one_rank_trains_as_no_rank_does(tmp_path: Path) -> None:
    """torchrun with one rank joins no group: NCCL itself is asked for a sum, and a sharded step is made over it."""
    done = command(*RANKS, "tests/gpu_checks.py")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nccl sums" in done.stdout and "nccl shards" in done.stdout
