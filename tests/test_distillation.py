"""A student learns from a run's best weights; the teacher sees its own pictures and leaves no trace in the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, newest
from torch.nn import functional

from engine.distillation.teacher import Distillation, Teacher

Train = Callable[..., tuple[int, str, str]]


@pytest.fixture
def teacher(train: Train, tmp_path: Path) -> Path:
    code, log, _ = train(
        *TINY, "MODEL.NAME", "example_model", "NAME", "teacher", "INPUT.PIXEL_MEAN", "[0.4]", "INPUT.PIXEL_STD", "[0.3]"
    )
    assert code == 0, log
    return newest(tmp_path / "exp")


def test_the_loss_is_hinton_s() -> None:
    torch.manual_seed(0)
    student, known, target = torch.randn(6, 4), torch.randn(6, 4), torch.arange(6) % 4
    task = functional.cross_entropy(student, target)
    found = Distillation(0.3, 2.0)({"loss": task, "seen": task}, student, known)
    p, q = (known / 2).softmax(1), (student / 2).log_softmax(1)
    assert found.keys() == {"loss_task", "seen", "loss_distill"}
    assert torch.allclose(found["loss_task"], 0.7 * task) and torch.equal(found["seen"], task)
    assert torch.allclose(found["loss_distill"], 0.3 * 4 * (p * (p.log() - q)).sum(1).mean())
    assert Distillation(1.0, 2.0)({"loss": task}, known, known)["loss_distill"].item() == pytest.approx(0, abs=1e-6)
    whole = Distillation(0.3, 2.0)({"loss": task}, student, known)["loss_distill"]
    parts = [
        Distillation(0.3, 2.0)({"loss": task}, student[a:b], known[a:b])["loss_distill"] * (b - a) for a, b in ((0, 2), (2, 6))
    ]
    assert torch.allclose(whole, torch.stack(parts).sum() / 6)
    assert Distillation(0.3, 2.0)({"loss": task}, student[:0], known[:0])["loss_distill"].item() == 0


class Echo(torch.nn.Module):
    """Gives back what it is shown."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


@pytest.mark.parametrize(("channels", "seen"), [(1, ([0.5], [0.25])), (3, ([0.5], [0.25])), (1, ([0.1, 0.2, 0.3], [0.5]))])
def test_the_teacher_sees_images_normalised_its_own_way(channels: int, seen: Any) -> None:
    pixels = torch.rand(2, 1, 4, 4)
    own = ([0.4], [0.3])
    shown = (pixels - torch.tensor(seen[0]).view(1, -1, 1, 1)) / torch.tensor(seen[1]).view(1, -1, 1, 1)
    teacher = Teacher(Echo(), channels=channels, seen=seen, own=own, device=torch.device("cpu"))
    assert torch.allclose(teacher(shown), ((pixels - 0.4) / 0.3).expand(-1, channels, -1, -1), atol=1e-6)


STUDENT = [*TINY, "NAME", "student", "DISTILL.TEACHER", "teacher", "DISTILL.WEIGHT", "0.7"]


def test_a_student_learns_and_its_losses_are_logged_in_parts(teacher: Path, train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*STUDENT)
    assert code == 0, log
    run = newest(tmp_path / "exp")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    row = next(r for r in rows if "train/loss" in r)
    assert row["train/loss"] == pytest.approx(row["train/loss_task"] + row["train/loss_distill"])
    assert not any("distill" in name for r in rows for name in r if name.startswith(("val/", "test/")))
    last = torch.load(run / "weights" / "last.pt", weights_only=True)
    size = sum(v.numel() for v in last["model"].values())
    assert size == 64 * 128 + 128 + 128 * 4 + 4 and sum(len(g["params"]) for g in last["optimizer"]["param_groups"]) == 4
    assert (teacher / "weights" / "best.pt").is_file()


def test_all_weight_on_the_teacher_pulls_the_student_to_it(teacher: Path, train: Train, tmp_path: Path) -> None:
    keys = ["DISTILL.WEIGHT", "1", "SOLVER.MAX_EPOCHS", "8", "SOLVER.BASE_LR", "0.05"]
    assert train(*STUDENT, *keys)[0] == 0
    rows = [json.loads(line) for line in (newest(tmp_path / "exp") / "metrics.jsonl").read_text().splitlines()]
    losses = [r["train/loss_distill"] for r in rows if "train/loss_distill" in r]
    assert losses[-1] < losses[0] / 3 and all(r["train/loss_task"] == 0 for r in rows if "train/loss_task" in r)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["DISTILL.TEACHER", "nobody"], "no run 'nobody'"),
        (["DATASETS.TRAIN", "synthetic:96x1x8x8x3"], "knows the classes ['class_0', 'class_1', 'class_2', 'class_3']"),
        (["DATASETS.TRAIN", "synthetic:96x3x8x8x4"], "takes images of 1 channels, this run's have 3"),
        (["LOSS.NAME", "binary"], "compares the softmax of classes"),
    ],
)
def test_a_teacher_that_does_not_fit_is_said(words: list[str], said: str, teacher: Path, train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*STUDENT, *words)
    assert code == 2 and said in error and "Traceback" not in error, error
    assert len(list((tmp_path / "exp").glob("student*"))) == 0


def test_a_teacher_of_other_code_is_said(teacher: Path, train: Train) -> None:
    config = teacher / "config.yml"
    config.write_text(config.read_text().replace("NAME: example_model", "NAME: resnet20"))
    code, error, _ = train(*STUDENT)
    assert code == 2 and "its weights do not fit resnet20" in error and "Traceback" not in error, error


def test_a_teacher_of_one_size_says_which_images_it_cannot_take(train: Train, tmp_path: Path) -> None:
    assert train(*TINY, "NAME", "teacher")[0] == 0  # an mlp: 8 x 8 pixels and no other
    code, error, _ = train(*STUDENT, "INPUT.SIZE_TRAIN", "12")
    assert code == 2 and "cannot take this run's images of 12 x 12 pixels" in error, error
