"""--dry-run finds what a long run would stumble over, says what to do, and leaves nothing behind."""

from __future__ import annotations

import resource
import shutil
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, TINY, command
from test_adding_is_one_file import SEGMENTATION, fork, write
from torch import nn

from data.dataset import ArrayDataset, Dataset
from data.datasets import DATASETS
from data.transforms import TRANSFORMS
from engine.analysis.borrow import snapshot
from engine.evaluators import EVALUATORS
from engine.hooks import HOOKS, Hook
from engine.preflight.checks import difference, falls
from engine.preflight.table import Finding, duration, print_findings
from modeling.losses import LOSSES

Train = Callable[..., tuple[int, str, str]]


@LOSSES.register("preflight_stuck")
class Stuck(nn.Module):
    """Has a gradient of zero."""

    def forward(self, outputs: torch.Tensor, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        return {"loss": outputs.sum() * 0 + 1}


@LOSSES.register("preflight_raises")
class Raises(nn.Module):
    """Raises at once."""

    def forward(self, outputs: torch.Tensor, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        raise ValueError("this loss is broken")


@EVALUATORS.register("preflight_nan")
class NotANumber:
    """Scores that are not finite."""

    lower_is_better: frozenset[str] = frozenset()

    def __init__(self, **_: Any) -> None: ...
    def reset(self) -> None: ...
    def update(self, outputs: Any, batch: Any) -> None: ...
    def compute(self) -> dict[str, float]:
        return {"odd": float("nan")}


@HOOKS.register("preflight_forgetful")
class Forgetful(Hook):
    """Counts its own savings, and so never comes back as it was."""

    state_name = "forgetful"

    def __init__(self, **_: Any) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        self.count += 1
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@TRANSFORMS.register("PreflightSlow")
class Slow:
    """Far slower than a step, also on a machine where others compute."""

    def __call__(self, sample: dict[str, Any], rng: Any) -> dict[str, Any]:
        time.sleep(0.01)
        return sample


@DATASETS.register("preflight_blank")
def blank(place: str, root: str, train: bool, seed: int) -> Dataset:
    """Every other image is black; the third class has no sample."""
    images = torch.randint(0, 255, (64, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    images[::2] = 0
    return ArrayDataset("preflight_blank", images, torch.arange(64) % 2, ["a", "b", "c"], [0.5], [0.25])


def test_a_sound_recipe_is_well_and_leaves_nothing(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    words = ["SOLVER.EMA_DECAY", "0.9", "SOLVER.ACCUMULATE", "2", "SOLVER.PRECISION", "bf16", "SOLVER.EARLY_STOP", "2"]
    code, error, out = train(*TINY, *words, "--dry-run")
    assert code == 0 and "all is well" in out, out + error
    for row in ("train", "val", "test", "learns", "tail", "resumes", "val scores", "speed", "memory", "disk", "end"):
        assert f"│ {row} " in out, row
    assert "ema" in out and "early_stop" in out and "overfitted" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scratch"] and not list((tmp_path / "scratch").glob("fieldbook*"))


def finding(out: str, row: str) -> str:
    """The text of one row of the table, its lines joined."""
    lines, inside = [], False
    for line in out.splitlines():
        cells = line.split("│")
        if len(cells) == 5:
            inside = cells[1].strip() == row or inside and not cells[1].strip()
            if inside:
                lines.append(f"{cells[2].strip()} {cells[3].strip()}".strip())
    return " ".join(lines)


@pytest.mark.parametrize(
    ("row", "words", "said"),
    [
        ("learns", ["LOSS.NAME", "preflight_stuck"], "WRONG the loss of one batch does not fall by 20% at any"),
        ("learns", ["LOSS.NAME", "preflight_raises"], "in forward: ValueError: this loss is broken"),
        ("val scores", ["TEST.EVALUATOR", "preflight_nan"], "WRONG not finite: odd"),
        ("resumes", ["HOOKS", "[preflight_forgetful]"], "WRONG save -> load changes forgetful.count"),
    ],
)
def test_what_is_wrong_is_said_with_exit_code_1(row: str, words: list[str], said: str, train: Train, tmp_path: Path) -> None:
    code, _, out = train(*TINY, *words, "--dry-run")
    assert code == 1 and said in finding(out, row), out
    assert f"something is wrong with: {row}" in out and not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("row", "words", "said"),
    [
        ("learns", ["SOLVER.BASE_LR", "20"], "x the peak rate only"),
        ("speed", ["INPUT.TRANSFORMS_TRAIN", "[PreflightSlow]"], "the loader is the bottleneck"),
        ("train", ["DATASETS.TRAIN", "preflight_blank", "DATASETS.TEST", "preflight_blank"], "are of one value throughout"),
        ("train", ["DATASETS.TRAIN", "preflight_blank", "DATASETS.TEST", "preflight_blank"], "no sample of c"),
        ("train", ["INPUT.PIXEL_MEAN", "[200.0]"], "far from mean 0 and std 1"),
    ],
)
def test_what_is_odd_is_a_note(row: str, words: list[str], said: str, train: Train) -> None:
    _, _, out = train(*TINY, *words, "--dry-run")
    text = finding(out, row)
    assert said in text and "note" in text, out


def test_one_mistake_gives_one_traceback(train: Train) -> None:
    code, error, out = train(*TINY, "LOSS.NAME", "preflight_raises", "--dry-run")
    assert code == 1 and error.count("Traceback (most recent call last)") == 1, error
    assert "tests/test_preflight.py:" in error and "loss   preflight_raises (Raises)" in error
    assert finding(out, "resumes").startswith("WRONG the same: tests/test_preflight.py:"), out


def test_a_disk_that_is_too_small_is_wrong(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 10))
    code, _, out = train(*TINY, "--dry-run")
    assert code == 1 and "not enough" in finding(out, "disk") and "SOLVER.TOP_K" in finding(out, "disk"), out


def test_a_mistake_of_the_user_is_still_exit_code_2(train: Train) -> None:
    code, error, out = train(*TINY, "--dry-run", "LOSS.CLASS_WEIGHTS", "[1, 2]")
    assert code == 2 and error.count("error:") == 1 and not out


def test_the_trainer_is_as_it_was(tmp_path: Path) -> None:
    import train_net

    import config
    from engine.preflight.build import build_preflight

    words = dict(zip(TINY[::2], TINY[1::2], strict=True)) | {"SOLVER.EMA_DECAY": "0.9"}
    cfg, splits, trainer = train_net.build(config.load_file(None, list(words.items())), torch.device("cpu"))
    rate = trainer.schedule(3)
    preflight = build_preflight(cfg, splits, trainer, tmp_path)
    before = snapshot(trainer.state_dict())
    findings = preflight.run()
    assert {f.verdict for f in findings} == {"ok"}
    assert not difference(before, trainer.state_dict()) and not difference(trainer.state_dict(), before)
    assert trainer.schedule(3) == rate and trainer.step == 0 and all(p.grad is None for p in trainer.task.parameters())
    different = snapshot(before)
    different["model"]["1.weight"][0, 0] += 1e-7
    assert difference(before, different) == "model.1.weight"


def test_falls_by_a_fifth() -> None:
    assert falls([1.0, 0.9, 0.8, 0.7]) and not falls([1.0, 0.9, 0.85, 0.82])
    assert not falls([1.0, float("nan")]) and not falls([1.0]) and falls([-1.0, -2.0]) and falls([1e-9, 1e-9])


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_fits_the_terminal(width: int) -> None:
    import io

    from rich.console import Console

    file = io.StringIO()
    rows = [
        Finding("model", "", "x" * 300),
        Finding("val scores", "wrong", "not finite " * 20, "do this"),
        Finding("a", "ok", "b"),
    ]
    print_findings(rows, Console(file=file, width=width))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width and "-> do this" in file.getvalue()
    assert lines[-1] == "dry run: something is wrong with: val scores; nothing was written"


def test_durations_are_read_at_a_glance() -> None:
    shown = [duration(s) for s in (0, 3.12e-5, 0.0123, 1.26, 42, 185, 18720, 274000)]
    assert shown == ["0.0 s", "31.2 us", "12.3 ms", "1.3 s", "42 s", "3 min 5 s", "5 h 12 min", "3 d 4 h"]


def test_a_regression_passes(train: Train, tmp_path: Path) -> None:
    rows = [f"{x / 50},{1 - x / 50},{3 * x / 50 + 1}" for x in range(100)]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,y", *rows]))
    code, error, out = train(
        "DATASETS.TRAIN", f"csv:{tmp_path / 'table.csv'}", "MODEL.NAME", "softmax", "LOSS.NAME", "mse", "TEST.EVALUATOR",
        "regression", "SOLVER.BASE_LR", "0.1", "SOLVER.IMS_PER_BATCH", "16", "NAME", "table", "--dry-run",
    )  # fmt: skip
    assert code == 0 and "targets from 1 to" in out and "mae" in finding(out, "val scores"), out + error


@pytest.mark.slow
def test_a_task_of_one_s_own_passes(tmp_path: Path) -> None:
    root = fork(tmp_path / "fork")
    write(root, SEGMENTATION)
    done = command("tools/train_net.py", "--config-file", "configs/squares.yml", "--dry-run", cwd=root, COLUMNS="160")
    assert done.returncode == 0 and "iou" in done.stdout and "mask 8x12x12 int64" in done.stdout, done.stdout + done.stderr
    assert [p.name for p in root.glob("exp/*")] == []


@pytest.mark.slow
def test_two_ranks_print_one_table(tmp_path: Path) -> None:
    words = [*TINY, "--dry-run", "--output-dir", str(tmp_path / "exp")]
    done = command("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "tools/train_net.py", *words)
    assert done.returncode == 0 and done.stdout.count("all is well") == 1, done.stdout + done.stderr
    assert "8 per rank x 2 ranks" in done.stdout and not (tmp_path / "exp").exists()


@pytest.mark.slow
def test_a_big_recipe_takes_less_than_a_minute(tmp_path: Path) -> None:
    """Of a processor: however busy the machine is with others."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = (
        "--config-file",
        str(ROOT / "configs" / "train_cifar10_resnet20.yml"),
        "DATASETS.TRAIN",
        "synthetic:50000x3x32x32x10",
    )
    done = command("tools/train_net.py", *words, "--device", "cpu", "--dry-run", "--output-dir", str(tmp_path / "exp"))
    assert done.returncode == 0, done.stdout + done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60


def test_batches_of_any_kind_are_described() -> None:
    import numpy

    from engine.preflight.data import histogram, look_at_batch

    class Any_(Dataset):
        name, classes, targets = "any", ["a", "b"], list(numpy.arange(4) % 2)

    data, index = Any_(), torch.arange(4)
    tokens = {"image": torch.arange(8).view(4, 2), "target": torch.tensor([0, 1, 5, 1]), "index": index}
    found = look_at_batch("train", tokens, tokens, data)
    assert "image 4x2 int64 from 0 to 7" in found[0].seen
    assert found[-1].verdict == "wrong" and "target 5 of any[2] is none of 2 classes" in found[-1].seen
    assert "2 classes, 2 each" in histogram("train", data)[0].seen
    broken = {"image": torch.full((4, 1, 2, 2), torch.inf), "index": index}
    assert "not finite in any[0], any[1], any[2] and 1 more" in look_at_batch("train", broken, broken, data)[1].seen
    other = {"words": ["a"] * 4, "index": index}
    assert look_at_batch("train", other, other, data)[0].verdict == "note"
