"""What changes while training is in the checkpoint: a part that forgets to register itself fails here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import TINY, newest

from engine.hooks.base import Hook
from engine.trainer import Trainer

Train = Callable[..., tuple[int, str, str]]
WORDS = [
    *TINY, "MODEL.NAME", "example_model", "MODEL.DROP_PATH", "0.2", "SOLVER.EMA_DECAY", "0.9", "SOLVER.ACCUMULATE", "2",
    "SOLVER.SCHEDULE", "plateau", "SOLVER.EARLY_STOP", "9", "SOLVER.TOP_K", "1", "INPUT.MIXUP_ALPHA", "0.2",
    "SOLVER.NONFINITE", "skip", "MODEL.FREEZE", "[stem.*]", "MODEL.FREEZE_EPOCHS", "1",
]  # fmt: skip
# What may differ at the same step of a run and of its resumption: clocks, files, threads, and what is reset anyway.
FREE = {
    "LoggingHook._time", "LoggingHook._step", "ProgressHook._began", "CheckpointHook._saved_at", "CheckpointHook.restored",
    "Trainer.data_seconds",
    "Trainer.gradient_norm", "Guard._kept", "EvaluationHook.score", "EvaluationHook.fresh", "Trainer.hooks",
    "Trainer.listeners", "FiguresHook._batch", "FiguresHook._drawn", "FiguresHook._cost",
}  # fmt: skip


def plain(value: Any) -> Any:
    """A copy of what can be compared: numbers, words, tensors and containers of them; None of all else."""
    if isinstance(value, torch.Tensor):
        return ("tensor", value.detach().tolist()) if value.numel() < 10_000 else None
    if isinstance(value, numpy.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    return value if isinstance(value, int | float | str | bool) else None


def attributes(trainer: Trainer) -> dict[str, Any]:
    """Everything that the trainer, its parts and its hooks hold, by class and name."""
    parts = [trainer, trainer.guard, trainer.meter, trainer.ema, trainer.optimizer, trainer.loader, *trainer.hooks]
    held = {f"{type(part).__name__}.{name}": plain(value) for part in parts for name, value in vars(part).items()}
    return held | {f"Task.{name}": plain(value) for name, value in trainer.task.state_dict().items()}


def at_step(step: int, found: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes all attributes of the trainer as it begins a step."""
    original = Trainer.train_step

    def train_step(self: Trainer, window: Any) -> None:
        if self.step == step:
            found.append(attributes(self))
        original(self, window)

    monkeypatch.setattr(Trainer, "train_step", train_step)


def differences(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """Names that differ between a run at step 13 and its resumption from step 12 there."""
    found: list[dict[str, Any]] = []
    with monkeypatch.context() as patch:
        at_step(13, found, patch)
        code, log, _ = train(*WORDS, *words)
        assert code == 0, log
        run = newest(tmp_path / "exp")
        (run / "weights" / "epoch_0003.pt").unlink()
        (run / "weights" / "last.pt").unlink()  # so that it goes on from epoch_0002.pt
        code, log, _ = train("--resume", run.name, "--epochs", "4")
        assert code == 0 and "resumed at epoch 2, step 12" in log, log
    whole, resumed = found
    return sorted(k for k in whole.keys() | resumed.keys() if k not in FREE and whole.get(k) != resumed.get(k))


def test_a_resumed_trainer_holds_what_the_uninterrupted_one_held(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The run is longer than it was: only what follows from its length may differ.
    assert differences(train, tmp_path, monkeypatch) == ["Trainer.max_epochs", "Trainer.total_steps"]


def test_a_hook_that_forgets_its_state_is_found(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.hooks import HOOKS

    class Forgetful(Hook):
        def __init__(self) -> None:
            self.steps = 0

        def after_step(self, trainer: Trainer) -> None:
            self.steps += 1

    HOOKS.register("forgetful")(lambda **_: Forgetful())
    assert "Forgetful.steps" in differences(train, tmp_path, monkeypatch, "HOOKS", "[forgetful]")


def test_a_checkpoint_has_the_newest_state_of_a_hook_of_ones_own(train: Train, tmp_path: Path) -> None:
    from engine.hooks import HOOKS

    class Counting(Hook):
        state_name = "counting"

        def __init__(self) -> None:
            self.epochs = 0

        def after_epoch(self, trainer: Trainer) -> None:
            self.epochs += 1

        def state_dict(self) -> dict[str, Any]:
            return {"epochs": self.epochs}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.epochs = state["epochs"]

    HOOKS.register("counting_epochs")(lambda **_: Counting())
    assert train(*TINY, "HOOKS", "[counting_epochs]")[0] == 0
    weights = newest(tmp_path / "exp") / "weights"
    for epoch in (1, 2, 3):
        state = torch.load(weights / f"epoch_{epoch:04d}.pt", weights_only=True)
        assert state["counting"] == {"epochs": epoch}
