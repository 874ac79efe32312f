"""Stages, averages, falling rates, teachers and dropped paths go on after a stop as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY, newest, read_json
from test_resume_equals_uninterrupted import Stop, assert_equal, final

Train = Callable[..., tuple[int, str, str]]
TUNING = [
    *TINY, "MODEL.NAME", "example_model", "MODEL.WEIGHTS", "base", "MODEL.WEIGHTS_ALLOW", "[head.*]",
    "MODEL.FREEZE", "[loaded]", "MODEL.FREEZE_EPOCHS", "1", "SOLVER.NEW_LR_FACTOR", "2", "SOLVER.LAYER_DECAY", "0.7",
    "MODEL.DROP_PATH", "0.3",
    "MODEL.ACTIVATION_CHECKPOINTING", "true", "SOLVER.SCHEDULE", "plateau", "SOLVER.PLATEAU_PATIENCE", "1",
    "SOLVER.PLATEAU_THRESHOLD", "9", "SOLVER.ACCUMULATE", "2", "DISTILL.TEACHER", "teacher", "SOLVER.BASE_LR", "0.05",
]  # fmt: skip


@pytest.fixture
def folder(train: Train, tmp_path: Path) -> Path:
    """A folder of runs with weights to start from (of other classes) and a teacher."""
    small = [*TINY, "SOLVER.MAX_EPOCHS", "1", "MODEL.NAME", "example_model"]
    assert train(*small, "DATASETS.TRAIN", "synthetic:96x1x8x8x3", "NAME", "base")[0] == 0
    assert train(*small, "NAME", "teacher")[0] == 0
    return tmp_path / "exp"


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (3, ["SOLVER.SWA_EPOCHS", "2"]),  # while the old layers are frozen
        (8, ["SOLVER.SWA_EPOCHS", "2"]),  # after they were thawed, before anything was averaged
        (15, ["SOLVER.SWA_EPOCHS", "2"]),  # in the middle of the average, after the rate fell
        (8, ["SOLVER.EMA_DECAY", "0.9", "SOLVER.PRECISION", "bf16", "LOSS.NAME", "focal"]),
    ],
)
def test_resume_equals_uninterrupted(
    step: int, words: list[str], folder: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, log, _ = train(*TUNING, *words)
    assert code == 0 and "frozen weights train from now on" in log and "the rate falls" in log, log
    whole = newest(folder)
    with monkeypatch.context() as patch:
        Stop(step)(patch)
        assert train(*TUNING, *words)[0] == 75
    stopped = newest(folder)
    assert train(*TINY, "NAME", "base", "SOLVER.MAX_EPOCHS", "1")[0] == 0  # "base" would now mean another run
    code, log, _ = train("--resume", stopped.name)
    assert code == 0, log
    assert_equal(final(whole), final(stopped))
    assert read_json(whole / "test.json") == read_json(stopped / "test.json")
    if "SOLVER.SWA_EPOCHS" in words:
        assert final(stopped)["ema"]["epochs"] == [2, 3]


def test_keys_that_the_optimizer_was_built_with_cannot_change(folder: Path, train: Train) -> None:
    assert train(*TUNING)[0] == 0
    for key, value in (("MODEL.FREEZE", "[stem.*]"), ("SOLVER.LAYER_DECAY", "0.5"), ("DISTILL.WEIGHT", "0.1")):
        code, error, _ = train("--resume", newest(folder).name, "--epochs", "4", key, value)
        assert code == 2 and f"{key} cannot be changed" in error


def test_a_longer_run_averages_its_own_last_epochs(folder: Path, train: Train) -> None:
    assert train(*TINY, "SOLVER.SWA_EPOCHS", "2")[0] == 0
    run = newest(folder)
    assert final(run)["ema"]["epochs"] == [2, 3]
    assert train("--resume", run.name, "--epochs", "4")[0] == 0
    assert final(run)["ema"]["epochs"] == [4]
