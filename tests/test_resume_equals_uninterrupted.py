"""A run that was stopped and resumed ends with the very weights of one that was not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, newest, read_json

Train = Callable[..., tuple[int, str, str]]
CRAFT = [
    "INPUT.TRANSFORMS_TRAIN", "[PadCrop, RandomHorizontalFlip, RandomErasing]", "SOLVER.EMA_DECAY", "0.9",
    "SOLVER.ACCUMULATE", "2", "SOLVER.CLIP_NORM", "1.0", "SOLVER.SCHEDULE", "cosine", "SOLVER.EARLY_STOP", "50",
]  # fmt: skip


def final(path: Path) -> dict[str, Any]:
    """last.pt without what may differ."""
    content: dict[str, Any] = torch.load(path / "weights" / "last.pt", weights_only=True)
    del content["meta"]
    return content


def assert_equal(a: Any, b: Any, where: str = "") -> None:
    """Equal, tensors bit by bit; says where not."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


class Stop:
    """Sends the signal at a step, as SLURM would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import os
        import signal

        from engine.hooks.logging import LoggingHook

        original, step = LoggingHook.after_step, self.step

        def after_step(hook: LoggingHook, trainer: Any) -> None:
            original(hook, trainer)
            if trainer.step == step:
                os.kill(os.getpid(), signal.SIGTERM)

        monkeypatch.setattr(LoggingHook, "after_step", after_step)


def assert_a_resumed_run_is_equal(train: Train, call: list[str], step: int, exp: Path, patches: pytest.MonkeyPatch) -> Path:
    """Trains once whole and once stopped at `step` and resumed, below `exp`; the folder of the whole one."""
    assert train(*call)[0] == 0
    whole = newest(exp)
    with patches.context() as patch:
        Stop(step)(patch)
        assert train(*call)[0] == 75
    stopped = newest(exp)
    code, log, _ = train("--resume", stopped.name)
    assert code == 0 and whole != stopped, log
    assert_equal(final(whole), final(stopped))
    assert read_json(whole / "test.json")["metrics"] == read_json(stopped / "test.json")["metrics"]
    return whole


@pytest.mark.parametrize("step", [1, 8, 12])
def test_resume_equals_uninterrupted(step: int, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(*TINY, *CRAFT)[0] == 0
    whole = newest(tmp_path / "exp")
    with monkeypatch.context() as patch:
        Stop(step)(patch)
        code, log, _ = train(*TINY, *CRAFT)
    assert code == 75, log
    stopped = newest(tmp_path / "exp")
    assert read_json(stopped / "status.json")["status"] == "interrupted"
    code, log, _ = train("--resume", stopped.name)
    assert code == 0, log
    assert_equal(final(whole), final(stopped))
    assert read_json(whole / "test.json") == read_json(stopped / "test.json")

    def losses(run: Path) -> list[str]:
        rows = [line.split(", ") for line in (run / "metrics.jsonl").read_text().splitlines() if "train/loss" in line]
        return [f"{row[0]} {next(part for part in row if 'train/loss' in part)}" for row in rows]

    assert losses(whole) == losses(stopped)


EVERYTHING = [
    "MODEL.NAME", "example_model", "MODEL.DROP_PATH", "0.2", "MODEL.CHANNELS_LAST", "true", "MODEL.ACTIVATION_CHECKPOINTING",
    "true", "MODEL.FREEZE", "[stem.*]", "MODEL.FREEZE_EPOCHS", "1", "LOSS.LABEL_SMOOTHING", "0.1", "INPUT.MIXUP_ALPHA", "0.2",
    "INPUT.CUTMIX_ALPHA", "1", "INPUT.TRANSFORMS_TRAIN", "[PadCrop, RandAugment, {Cutout: {length: 2}}]", "DATALOADER.REPEATS",
    "2", "SOLVER.ACCUMULATE", "2", "SOLVER.CLIP_NORM", "1", "SOLVER.CLIP_VALUE", "0.5", "SOLVER.EMA_DECAY", "0.9",
    "SOLVER.SCHEDULE", "plateau", "SOLVER.PLATEAU_PATIENCE", "1", "SOLVER.WARMUP_ITERS", "3", "SOLVER.EARLY_STOP", "9",
    "SOLVER.LAYER_DECAY", "0.9", "SOLVER.TOP_K", "1", "TEST.AUGMENT", "[hflip]", "DISTILL.TEACHER", "teacher",
]  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_everything_together_resumes_bit_for_bit(
    precision: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(*TINY, "NAME", "teacher", "MODEL.NAME", "example_model")[0] == 0
    words = [*TINY, *EVERYTHING, "SOLVER.PRECISION", precision]
    code, log, _ = train(*words)
    assert code == 0, log
    whole = newest(tmp_path / "exp")
    with monkeypatch.context() as patch:
        Stop(9)(patch)
        assert train(*words)[0] == 75
    stopped = newest(tmp_path / "exp")
    code, log, _ = train("--resume", stopped.name, "DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", "1")
    assert code == 0, log
    assert_equal(final(whole), final(stopped))
    assert read_json(whole / "test.json") == read_json(stopped / "test.json")


def test_resume_falls_back_past_a_broken_checkpoint(train: Train, tmp_path: Path) -> None:
    train(*TINY)
    run = newest(tmp_path / "exp")
    before = final(run)
    content = bytearray((run / "weights" / "last.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (run / "weights" / "last.pt").write_bytes(content)
    code, log, _ = train("--resume", run.name, "--epochs", "4")
    assert code == 0 and "WARNING" in log and "last.pt" in log
    assert final(run)["progress"]["epoch"] == 4 and before["progress"]["epoch"] == 3
    assert read_json(run / "status.json")["sessions"][1]["changes"] == {"SOLVER.MAX_EPOCHS": [3, 4]}


def test_a_second_resume_keeps_what_the_first_changed(train: Train, tmp_path: Path) -> None:
    train(*TINY)
    assert train("--resume", "tiny", "--epochs", "4", "--why", "longer?")[0] == 0
    code, log, _ = train("--resume", "tiny")
    assert code == 0 and "is finished" in log
    code, log, _ = train("--resume", "tiny", "--epochs", "5", "--why", "longer?")
    assert code == 0 and "--why is of a run's start" in log
    sessions = read_json(newest(tmp_path / "exp") / "status.json")["sessions"]
    assert [s["changes"] for s in sessions] == [{}, {"SOLVER.MAX_EPOCHS": [3, 4]}, {"SOLVER.MAX_EPOCHS": [4, 5]}]


def test_more_steps_go_on_in_the_middle_of_an_epoch(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    whole = newest(tmp_path / "exp")
    assert train(*TINY, "SOLVER.MAX_STEPS", "8")[0] == 0
    cut = newest(tmp_path / "exp")
    assert final(cut)["progress"] == {"epoch": 1, "step": 8, "step_in_epoch": 2}
    code, log, _ = train("--resume", cut.name, "SOLVER.MAX_STEPS", "0")
    assert code == 0 and "is finished" not in log
    assert_equal(final(whole)["model"], final(cut)["model"])


def test_a_resume_that_cannot_begin_leaves_the_record_as_it_was(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    run = newest(tmp_path / "exp")
    before = (run / "status.json").read_bytes()
    code, log, _ = train("--resume", run.name, "--epochs", "5", "SOLVER.EMA_DECAY", "0.9")
    assert code == 2 and "no state of ema" in log
    assert json.loads((run / "status.json").read_bytes()) == json.loads(before)


def test_what_a_resume_changes_takes_effect(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    run = newest(tmp_path / "exp")
    code, log, _ = train("--resume", run.name, "--epochs", "4", "SOLVER.WEIGHT_DECAY", "0.5", "SOLVER.MOMENTUM", "0.1")
    assert code == 0, log
    groups = final(run)["optimizer"]["param_groups"]
    assert {group["momentum"] for group in groups} == {0.1} and max(group["weight_decay"] for group in groups) == 0.5


def test_a_failure_in_the_test_at_the_end_is_recorded(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import engine.ending

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("the disk of the test images is gone")

    monkeypatch.setattr(engine.ending, "judge", broken)
    code, log, _ = train(*TINY)
    status = read_json(newest(tmp_path / "exp") / "status.json")
    assert code == 1 and status["status"] == "failed" and "test images" in status["reason"], log


def test_no_good_checkpoint_ends_with_code_3(train: Train, tmp_path: Path) -> None:
    train(*TINY)
    run = newest(tmp_path / "exp")
    for file in (run / "weights").glob("*.pt"):
        file.write_bytes(b"")
    code, log, _ = train("--resume", run.name, "--epochs", "9")
    assert code == 3 and "last.pt" in log and "Traceback" not in log


def test_a_finished_run_has_nothing_to_resume(train: Train, tmp_path: Path) -> None:
    train(*TINY)
    code, log, _ = train("--resume", "tiny")
    assert code == 0 and "finished" in log
    assert train("--resume", "tiny", "SOLVER.IMS_PER_BATCH", "8")[0] == 2


def test_resume_auto_without_a_run_starts_one(train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*TINY, "--resume", "auto")
    assert code == 0, log
    assert len(list((tmp_path / "exp").iterdir())) == 1


def test_curves_never_step_backwards(train: Train, tmp_path: Path) -> None:
    train(*TINY)
    run = newest(tmp_path / "exp")
    for name in ("last.pt", "epoch_0003.pt"):
        (run / "weights" / name).unlink()
    assert train("--resume", run.name, "--epochs", "4")[0] == 0
    steps = [int(line.split('"step": ')[1].split(",")[0]) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] == 24
    assert (run / "metrics.cut.jsonl").read_text().count("\n") > 0
