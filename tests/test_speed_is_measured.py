"""tools/analyze.py speed says what the limit is and tries what may help: each suggestion is measured, and loads as a config."""

from __future__ import annotations

import io
import json
import time
import warnings
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
KEYS = list(zip(TINY[::2], TINY[1::2], strict=True))


@TRANSFORMS.register("SpeedSlow")
class Slow:
    """Takes 8 ms for an image of 64 pixels: 200 times what the tiny model takes, so that other work cannot turn it round."""

    def __call__(self, sample: dict[str, Any], rng: Any) -> dict[str, Any]:
        time.sleep(0.008)
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


def test_a_slow_transform_makes_it_the_loader_and_workers_are_tried() -> None:
    slow = ("INPUT.TRANSFORMS_TRAIN", "[SpeedSlow]")
    cfg, splits, trainer = build(slow)
    base = build_bench(cfg, splits, torch.device("cpu"), trainer, batches=2)
    speed = measure(base, 1.0)
    assert speed.limit == "loader" and speed.waiting > 0.3
    assert set(speed.times) == {"load", "prepare", "compute", "train", "evaluate"}
    changes, left_out = changes_for(cfg, trainer, speed)
    assert changes[0].pairs[0][0] == "DATALOADER.LOADER" and len(left_out) <= 1  # what may help comes first
    workers = [change for change in changes if ("DATALOADER.LOADER", "processes") in change.pairs]
    builder = make_builder(lambda pairs: load([slow, *pairs]), splits, torch.device("cpu"))
    (trial,) = try_changes(base, workers, builder, until=time.monotonic() + 8, step=0.13)
    assert len(trial.gains) >= 2 and trial.rate > 0 and trial.change.same


def test_a_heavy_model_makes_it_the_model_and_larger_batches_help() -> None:
    cfg, splits, trainer = build(("MODEL.NAME", "speed_heavy"))
    base = build_bench(cfg, splits, torch.device("cpu"), trainer)
    speed = measure(base, 1.0)
    assert speed.limit == "model" and speed.waiting < 0.5 and "evaluate" not in speed.times
    changes, _ = changes_for(cfg, trainer, speed)
    larger = [change for change in changes if change.text == "SOLVER.IMS_PER_BATCH 64"]
    until = time.monotonic() + 4
    speed.trials = try_changes(base, larger, make_builder(heavy, splits, torch.device("cpu")), until=until, step=0.03)
    (trial,) = speed.trials
    assert trial.gain > 1.5 and trial.helps and not trial.change.same, trial
    assert speed.verdict().startswith("best: SOLVER.IMS_PER_BATCH 64, ") and "but learns otherwise" in speed.verdict()


def heavy(pairs: Sequence[tuple[str, str]]) -> config.Config:
    """The same with the heavy model."""
    return load([("MODEL.NAME", "speed_heavy"), *pairs])


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
    options: dict[str, Any] = {"until": time.monotonic() + 9, "step": speed.step("train")}
    trials = try_changes(base, changes, make_builder(load, splits, torch.device("cpu")), **options)
    by = {trial.change: trial for trial in trials}
    assert "fp16 needs a CUDA device" in by[refused].failed and "\n" not in by[refused].failed and not by[refused].gains
    assert len(by[changes[1]].gains) >= 3 and not by[changes[2]].tried and torch.get_num_threads() == threads

    def too_large(change: Change) -> Any:
        raise torch.OutOfMemoryError("out of memory: tried to allocate a lot")

    def slowly(change: Change) -> Any:
        time.sleep(1)
        monkeypatch.setattr(base, "warm_up", lambda both: None)
        return base

    free = Change((), "", threads=threads)
    (trial,) = try_changes(base, [free], slowly, until=time.monotonic() + 2, step=speed.step("train"))
    assert trial.warm_up < 1 and trial.gains  # building is no part of it

    (trial,) = try_changes(base, [refused], too_large, until=time.monotonic() + 60, step=0.001)
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
        "but learns otherwise. Set it and ask again: what helps beside it may be another"
    )
    part = Speed({**speed.times, "compute": [Turn(2.0, 10, 640)]}, speed.trials)
    assert part.verdict().startswith("cannot tell: a part of a step took 2.0 times as long as all of it; end what else")
    wild = Speed({**speed.times, "train": [Turn(1.0, 10, 640), Turn(5.0, 10, 640)]})
    assert wild.verdict().startswith("cannot tell: a step took from 100 to 500 ms; end what else")
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


def test_the_card_says_why_image_files_are_not_read_by_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    from data import build_splits, jpeg, make_data_loader
    from data.loaders.build import counted
    from data.loaders.threads import default_threads

    for number in range(8):
        (tmp_path / f"{number % 2}").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number % 2}" / f"{number}.jpg")
    folder = [("DATASETS.TRAIN", f"image_folder:{tmp_path}"), ("DATASETS.VAL_FRACTION", "0")]

    def said(*pairs: tuple[str, str]) -> str:
        cfg = load([*folder, *pairs])
        loader = make_data_loader(cfg, "train", build_splits(cfg))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what the card says is not said by torch as well, and again in each epoch
            list(loader)
        return loader.describe()

    assert said(("DATALOADER.NUM_WORKERS", "2")).endswith("; DATALOADER.NUM_WORKERS asks for processes)")
    many = default_threads() + 1
    assert f"({many} workers, more than the {counted(many - 1, 'core')} for them, " in said(
        ("DATALOADER.NUM_WORKERS", f"{many}")
    )
    monkeypatch.setattr(jpeg, "available", lambda: True)
    assert said(("INPUT.TRANSFORMS_TRAIN", "[ColorJitter]")).endswith(
        f"; ColorJitter is not said to run in_threads: DATALOADER.NUM_WORKERS {default_threads()} would use all cores)"
    )
    monkeypatch.setattr(jpeg, "available", lambda: False)
    assert said().endswith("; threads want simplejpeg, which is not installed)")


def test_what_is_printed_ends_with_the_verdict(analyze: Train, tmp_path: Path) -> None:
    code, error, out = analyze(*TINY, "--seconds", "0.3")
    assert code == 0, error
    for said in (
        "a step of 16 samples on cpu, ",
        "as trained",
        "limit: as trained",
        "loader: memory (the data set lies in memory)",
    ):
        assert said in out, out
    assert "samples take" in out and out.splitlines()[-1].startswith(("best: ", "nothing ", "cannot tell: "))
    assert not list((tmp_path / "here").iterdir()) and not (tmp_path / "exp").exists()
    code, error, out = analyze(*TINY, "--seconds", "0.3", "--json")
    assert code == 0 and {"device", "loader", "times", "limit", "changes", "best", "verdict"} <= set(json.loads(out)), error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SOLVER.BATCH", "3"], "unknown key SOLVER.BATCH"),
        (["--seconds", "-1"], "--seconds is a number above 0"),
        (["--seconds", "0"], "--seconds is a number above 0"),
        (["--steps", "3"], "--steps is"),
        (["--file", "x.png"], "speed draws nothing"),
        (["DATALOADER.LOADER", "fast"], "one of auto, memory"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, analyze: Train) -> None:
    code, error, _ = analyze(*TINY, *words)
    assert code == 2 and said in error and error.count("error:") == 1 and "Traceback" not in error
