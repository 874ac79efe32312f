"""tools/analyze.py looks before training: rates, schedules and profiles, with pictures, and touches no run."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY, command

import config
from engine.analysis.borrow import borrowed, snapshot, windows
from engine.analysis.lr_finder import draw_range_test, range_test
from engine.analysis.profiling import PHASES, profile_steps
from engine.analysis.schedule_view import Outline, draw_schedule
from engine.preflight.checks import difference
from engine.trainer import Trainer
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
PNG = b"\x89PNG"


def trainer_of(*words: str) -> Trainer:
    """The tiny trainer, with further keys."""
    import train_net

    flat = [*TINY, *words]
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    return train_net.build(config.load_file(None, pairs), torch.device("cpu"))[2]


@pytest.fixture
def analyze(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """`analyze(*words)` runs tools/analyze.py in this process, in a folder of its own."""
    import analyze as tool

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *words: train(*words, main=tool.main)


def test_the_range_test_suggests_a_rate_that_learns_and_puts_all_back() -> None:
    trainer = trainer_of("SOLVER.EMA_DECAY", "0.9", "SOLVER.ACCUMULATE", "2")
    before, rate = snapshot(trainer.state_dict()), trainer.schedule(0)
    test = range_test(trainer, steps=80, low=1e-5, high=1000.0)
    assert not difference(before, trainer.state_dict()) and trainer.schedule(0) == rate
    assert test.exploded and len(test.rates) < 80
    assert test.rates[0] < test.suggestion <= test.lowest < test.rates[-1]
    ratios = [b / a for a, b in zip(test.rates, test.rates[1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))  # exponential
    losses = []
    with borrowed(trainer):
        trainer.schedule = lambda step: test.suggestion
        for _, window in zip(range(20), windows(trainer), strict=False):
            trainer.meter.reset()
            trainer.train_step(window)
            losses.append(trainer.read_losses()["loss"])
    assert losses[-1] < 0.7 * losses[0]


def test_the_range_test_finds_the_known_optimum_of_a_parabola(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradient descent on w^2 diverges beyond a rate of 1: the suggestion lies below, the explosion above."""
    import engine.analysis.lr_finder as finder

    weight = [1.0]

    def step(trainer: object, window: object, rate: float) -> dict[str, float]:
        loss = weight[0] ** 2
        weight[0] -= rate * 2 * weight[0] * 0.1
        return {"loss": loss}

    monkeypatch.setattr(finder, "step_losses", step)
    test = range_test(trainer_of(), steps=120, low=1e-4, high=1e3)
    assert 0.01 < test.suggestion < 10 < test.rates[-1] and test.exploded


def test_a_loss_that_is_never_finite_is_said() -> None:
    with pytest.raises(UserError, match="not finite"):
        range_test(trainer_of(), steps=30, low=1e20, high=1e30)


def test_lr_find_draws_and_prints_the_command(analyze: Train, tmp_path: Path) -> None:
    scaled = ["SOLVER.LR_SCALING", "linear", "SOLVER.LR_SCALING_BATCH", "8"]
    code, error, out = analyze("lr-find", *TINY, *scaled, "--steps", "60")
    assert code == 0, error
    assert (tmp_path / "here" / "tiny_lr_find.png").read_bytes()[:4] == PNG
    assert [p.name for p in tmp_path.iterdir()] == ["here"]  # no folder of runs
    words = shlex.split(out.splitlines()[-1])
    assert words[:2] == ["python", "tools/train_net.py"] and "SOLVER.LR_SCALING" in words
    suggestion = float(out.split("fastest at ")[1].split(",")[0])
    assert float(words[words.index("SOLVER.BASE_LR") + 1]) == pytest.approx(suggestion / 2, rel=0.1)  # 16 / 8


def test_schedule_shows_the_telling_steps(analyze: Train, tmp_path: Path) -> None:
    words = ["SOLVER.STEPS", "[9, 12, 99]", "SOLVER.WARMUP_ITERS", "4", "SOLVER.BIAS_LR_FACTOR", "2", "SOLVER.BASE_LR", "0.8"]
    code, error, out = analyze("schedule", *TINY, *words, "--file", str(tmp_path / "pictures" / "rate.png"))
    assert code == 0, error
    assert (tmp_path / "pictures" / "rate.png").read_bytes()[:4] == PNG and not (tmp_path / "exp").exists()
    rows = {cells[1].strip(): cells[4].strip() for line in out.splitlines() if len(cells := line.split("│")) == 6}
    assert rows["0"] == "0.2667" and rows["4"] == "0.8" and rows["9"] == "0.08" and rows["12"] == "0.008"
    assert "warm-up is over" in out and "peak" in out and "WARNING SOLVER.STEPS [99]: never reached" in out
    assert "bias: 132 parameters, rate x 2 (at most 1.6), weight decay 0" in out


@pytest.mark.parametrize("total", [1, 2, 5, 64_064])
def test_outlines_of_any_length_are_drawn(total: int, tmp_path: Path) -> None:
    factors = {f"layer.{n}": 0.75**n for n in range(12)} | {"bias": 1.0}
    outline = Outline(lambda s: 1 - s / total, total, 352, min(3, total - 1), (4, 32_000), factors)
    steps = [step for step, _ in outline.telling_steps()]
    assert steps == sorted(set(steps)) and steps[0] == 0 and steps[-1] == total - 1
    assert len(outline.sampled()) <= min(total, 4100) and {0, total - 1} <= set(outline.sampled())
    assert [factor for factor, _ in outline.lines()] == [1.0, 0.75**11]
    assert draw_schedule(outline, tmp_path / "s.png", "any").read_bytes()[:4] == PNG


def test_the_profile_adds_up_and_puts_all_back(tmp_path: Path) -> None:
    trainer = trainer_of("MODEL.NAME", "example_model", "SOLVER.ACCUMULATE", "2")
    before, backward = snapshot(trainer.state_dict()), torch.Tensor.backward
    result = profile_steps(trainer, steps=3, trace=tmp_path / "trace.json")
    assert not difference(before, trainer.state_dict())
    assert torch.Tensor.backward is backward and "prepare" in vars(trainer) and "compute_losses" not in vars(trainer)
    assert tuple(result.phases) == PHASES and all(seconds >= 0 for seconds in result.phases.values())
    assert min(result.phases["forward"], result.phases["backward"]) > result.phases["to device"] > 0
    assert any("conv" in row.name for row in result.operators) and 0.5 < sum(r.share for r in result.operators) <= 1.0001
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert {"phase: forward", "phase: backward", "phase: optimizer"} <= {event.get("name") for event in events}


def test_profile_prints_phases_and_operators(analyze: Train, tmp_path: Path) -> None:
    code, error, out = analyze("profile", *TINY, "--steps", "2")
    assert code == 0 and all(f"│ {phase} " in out for phase in PHASES) and "aten::" in out, error
    assert not list((tmp_path / "here").iterdir()) and not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lr_finder"], "invalid choice: 'lr_finder'"),
        ([], "required: COMMAND"),
        (["schedule", "--steps", "3"], "for lr-find and profile"),
        (["profile", "--steps", "0"], "at least 1, for lr-find and profile"),
        (["lr-find", "--steps", "1"], "1 steps are too few"),
        (["activations", "--count", "0"], "N is 1 or more"),
        (["data", "--top", "0"], "it is for ranked"),
        (["model", "--file", "x.png"], "model draws nothing"),
        (["lr-find", "--file", "x.doc"], "a picture is a .png"),
        (["profile", "--file", "x.png"], "a Chrome trace is a .json file"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, analyze: Train) -> None:
    code, error, _ = analyze(*words, *TINY)
    assert code == 2 and said in error and error.count("error:") == 1 and "Traceback" not in error


def test_help_lists_every_command() -> None:
    from config.parsers import ANALYSES

    done = command("tools/analyze.py", "--help")
    assert done.returncode == 0
    for name, text in ANALYSES.items():
        assert f"  {name:<10} {text}" in done.stdout


def test_pictures_show_the_suggestion(tmp_path: Path) -> None:
    test = range_test(trainer_of(), steps=40, low=1e-3, high=10.0)
    assert draw_range_test(test, tmp_path / "a" / "lr.png", "tiny").stat().st_size > 10_000
    assert all(map(math.isfinite, test.smoothed))


def test_data_and_model_are_shown(analyze: Train, tmp_path: Path) -> None:
    code, error, out = analyze("data", *TINY, "--file", str(tmp_path / "grid.png"))
    assert code == 0 and "class_3" in out and (tmp_path / "grid.png").read_bytes()[:4] == PNG, error
    code, error, out = analyze("model", *TINY)
    assert code == 0 and "FLOPs" in out and not list((tmp_path / "here").iterdir()), error
