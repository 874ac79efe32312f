"""tools/analyze.py speed says what the limit is and tries what may help: each suggestion is measured, and loads as a config."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from rich.console import Console
from torch import nn

import config
from data.transforms import TRANSFORMS
from engine.analysis.build import build_bench, changes_for, make_builder
from engine.analysis.speed import Change, Speed, Trial, measure, try_changes
from engine.analysis.speed_table import print_speed
from engine.analysis.turns import Turn, take_turns
from modeling.models import MODELS

Train = Callable[..., tuple[int, str, str]]
KEYS = [tuple(TINY[i : i + 2]) for i in range(0, len(TINY), 2)]


@TRANSFORMS.register("SpeedSlow")
class Slow:
    """Takes 2 ms for an image of 64 pixels: 50 times what the tiny model takes."""

    def __call__(self, sample: dict[str, Any], rng: Any) -> dict[str, Any]:
        time.sleep(0.002)
        return sample


@MODELS.register("speed_heavy")
class Heavy(nn.Module):
    """Takes 30 ms a batch, which its loader gives in well under 1 ms."""

    def __init__(self, in_channels: int, num_classes: int, image_size: Sequence[int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, num_classes, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        time.sleep(0.03)
        return self.conv(image).mean((2, 3))


@pytest.fixture
def analyze(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """`analyze(*words)` runs tools/analyze.py speed in this process, in a folder of its own."""
    import analyze as tool

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *words: train("speed", *words, main=tool.main)


def load(pairs: Sequence[tuple[str, str]]) -> config.Config:
    """The tiny config with further keys."""
    return config.load_file(None, [*KEYS, *pairs])


def build(*pairs: tuple[str, str]) -> Any:
    """Config, splits and trainer."""
    import train_net

    return train_net.build(load(pairs), torch.device("cpu"))


def test_a_slow_transform_makes_it_the_loader_and_workers_are_tried(analyze: Train, tmp_path: Path) -> None:
    code, error, out = analyze(*TINY, "INPUT.TRANSFORMS_TRAIN", "[SpeedSlow]", "--seconds", "4", "--json")
    assert code == 0, error
    found = json.loads(out)
    assert found["limit"] == "loader" and found["waiting"] > 0.8 and found["loader"].startswith("memory")
    assert set(found["times"]) == {"load", "prepare", "compute", "train", "evaluate"}
    changes = {row["change"]: row for row in found["changes"]}
    workers = next(row for text, row in changes.items() if "processes" in text)
    assert workers["keys"]["DATALOADER.LOADER"] == "processes" and workers["gains"] and workers["same"]
    assert "SOLVER.PRECISION bf16" not in changes and any("a faster model" in text for text in found["not_tried"])
    assert not list((tmp_path / "here").iterdir()) and not (tmp_path / "exp").exists()


def test_a_heavy_model_makes_it_the_model_and_larger_batches_help(analyze: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.analysis.build.default_threads", torch.get_num_threads)  # two threads on a busy core: seconds
    code, error, out = analyze(*TINY, "MODEL.NAME", "speed_heavy", "--seconds", "4", "--json")
    assert code == 0, error
    found = json.loads(out)
    changes = {row["change"]: row for row in found["changes"]}
    assert found["limit"] == "model" and found["waiting"] < 0.2
    assert any("MODEL.COMPILE true" in text for text in found["not_tried"])  # no time for that in four seconds
    assert "SOLVER.IMS_PER_BATCH 64" in changes, found
    batch = changes["SOLVER.IMS_PER_BATCH 64"]
    assert batch["gain"] > 2 and batch["helps"] and not batch["same"] and "learns otherwise" in batch["effect"]
    assert found["best"] == "SOLVER.IMS_PER_BATCH 64" and "but learns otherwise" in found["verdict"]


def test_every_change_loads_as_a_config_and_differs_from_it() -> None:
    odd = [
        ("SOLVER.OPTIMIZER_ARGS", "{foreach: true, nesterov: true}"),
        ("MODEL.NAME", "speed_heavy"),
        ("SOLVER.ACCUMULATE", "2"),
    ]
    cfg, _, trainer = build(*odd)
    turn = Turn(seconds=1.0, steps=10, samples=160, waited=0.5)
    changes, left_out = changes_for(cfg, trainer, Speed(dict.fromkeys(("load", "prepare", "compute", "train"), [turn])))
    keys = {key for change in changes for key, _ in change.pairs}
    assert not left_out and {
        "DATALOADER.LOADER", "DATALOADER.NUM_WORKERS", "MODEL.CHANNELS_LAST", "MODEL.COMPILE", "SOLVER.PRECISION",
        "SOLVER.OPTIMIZER_ARGS", "SOLVER.ACCUMULATE", "SOLVER.IMS_PER_BATCH",
    } == keys  # fmt: skip
    before = load(odd).flat()
    for change in changes:
        after = load([*odd, *change.pairs]).flat()
        assert {key for key in after if after[key] != before[key]} == {key for key, _ in change.pairs}, change
    fused = next(change for change in changes if change.pairs and change.pairs[0][0] == "SOLVER.OPTIMIZER_ARGS")
    assert dict(load(fused.pairs).SOLVER.OPTIMIZER_ARGS) == {"nesterov": True, "fused": True}


def test_what_fails_is_a_row_with_its_reason_and_leaves_the_rest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg, splits, trainer = build()
    base = build_bench(cfg, splits, torch.device("cpu"), trainer, batches=2)
    threads, weights = torch.get_num_threads(), [p.clone() for p in trainer.task.parameters()]
    speed = measure(base, 0.5)
    assert all(torch.equal(a, b) for a, b in zip(weights, trainer.task.parameters(), strict=True))
    refused = Change((("SOLVER.PRECISION", "fp16"),), "")
    changes = [refused, Change((), "", threads=2), Change((("MODEL.COMPILE", "true"),), "", compiles=True)]
    options: dict[str, Any] = {"until": time.monotonic() + 5, "step": speed.step("train")}
    trials = try_changes(base, changes, make_builder(load, splits, torch.device("cpu")), **options)
    by = {trial.change: trial for trial in trials}
    assert "fp16 needs a CUDA device" in by[refused].failed and "\n" not in by[refused].failed and not by[refused].gains
    assert len(by[changes[1]].gains) >= 3 and not by[changes[2]].tried and torch.get_num_threads() == threads

    def too_large(change: Change) -> Any:
        raise torch.OutOfMemoryError("out of memory: tried to allocate a lot")

    (trial,) = try_changes(base, [refused], too_large, **options)
    assert trial.failed.startswith("failed: out of memory")


def test_the_verdict_prefers_what_learns_the_same() -> None:
    turn = [Turn(1.0, 10, 640, 0.1)]
    speed = Speed({**dict.fromkeys(("prepare", "compute", "train"), turn), "load": [Turn(0.1, 10, 640)]})
    assert speed.verdict() == "nothing was tried: the model is the limit"
    layout = Trial(Change((("MODEL.CHANNELS_LAST", "true"),), "rounding differs"), [1.3, 1.2, 1.25], 800)
    batch = Trial(Change((("SOLVER.IMS_PER_BATCH", "128"),), "learns otherwise", same=False), [2.0, 2.1, 1.9], 1280)
    noise = Trial(
        Change((("MODEL.COMPILE", "true"),), "rounding differs", compiles=True), [9.0, 0.5, 0.9, 1.2], 640, warm_up=30
    )
    speed.trials = [noise]
    assert speed.verdict() == "nothing that was tried helps: the model is the limit"
    speed.trials = [batch, layout, noise]
    assert speed.verdict() == (
        "best: MODEL.CHANNELS_LAST true, 1.25 x the images/s (rounding differs); more still: SOLVER.IMS_PER_BATCH 128, 2.00 x, "
        "but learns otherwise"
    )
    for width in (80, 160):
        file = io.StringIO()
        print_speed(speed, "a step of 64 samples", "memory", "", Console(file=file, width=width))
        assert max(map(len, file.getvalue().splitlines())) <= width and "MODEL.CHANNELS_LAST true" in file.getvalue()


def test_turns_go_to_and_fro() -> None:
    order: list[str] = []

    def work(name: str) -> Callable[[float], Turn]:
        return lambda seconds: order.append(name) or Turn(1.0, 1, 1)  # type: ignore[func-returns-value]

    taken = take_turns([work("a"), work("b")], 0.1, turns=3, until=time.monotonic() + 60)
    assert order == ["a", "b", "b", "a", "a", "b"] and [len(turns) for turns in taken] == [3, 3]
    assert len(take_turns([work("a")], 0.1, turns=9, until=0.0)[0]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SOLVER.BATCH", "3"], "unknown key SOLVER.BATCH"),
        (["--seconds", "-1"], "--seconds is a number above 0"),
        (["--steps", "3"], "--steps is"),
        (["--file", "x.png"], "speed draws nothing"),
        (["DATALOADER.LOADER", "fast"], "one of auto, memory"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, analyze: Train) -> None:
    code, error, _ = analyze(*TINY, *words)
    assert code == 2 and said in error and error.count("error:") == 1 and "Traceback" not in error
