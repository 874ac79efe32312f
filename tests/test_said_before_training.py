"""What would break, or be uneven, in the middle of a run is said before it: batch norm, compiler, division, precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import TINY, command
from torch import nn

from data.loaders.plan import TrainingPlan
from engine.card import batch_facts
from engine.prepare import check_batch_norm
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
# At 4 x 4 pixels the last stage of the example model has one pixel: a single sample is one value a channel.
ONE_PIXEL = [*TINY, "MODEL.NAME", "example_model", "DATASETS.VAL_FRACTION", "0", "DATASETS.TEST", "synthetic:8x1x4x4x4"]


def test_a_tail_of_one_sample_under_batch_norm_is_refused(train: Train, tmp_path: Path) -> None:
    words = [*ONE_PIXEL, "DATASETS.TRAIN", "synthetic:33x1x4x4x4", "SOLVER.MAX_EPOCHS", "1"]
    code, error, _ = train(*words)
    assert code == 2 and "one sample" in error and "(its tail)" in error and "DATALOADER.DROP_LAST" in error, error
    assert not (tmp_path / "exp").exists()
    assert train(*words, "DATALOADER.DROP_LAST", "true")[0] == 0
    assert train(*words, "SOLVER.MAX_STEPS", "2")[0] == 0  # ends before the tail
    assert train(*words, "DATASETS.TRAIN", "synthetic:34x1x4x4x4")[0] == 0


def test_micro_batches_of_one_sample_are_refused_where_torch_would(train: Train) -> None:
    words = [*ONE_PIXEL, "SOLVER.ACCUMULATE", "16", "SOLVER.MAX_EPOCHS", "1"]
    code, error, _ = train(*words, "DATASETS.TRAIN", "synthetic:32x1x4x4x4")
    assert code == 2 and "each training batch has one sample" in error, error
    code, error, _ = train(*words, "DATASETS.TRAIN", "synthetic:32x1x8x8x4", "DATASETS.TEST", "synthetic:8x1x8x8x4")
    assert code == 0 and "WARNING batch normalisation sees one sample" in error, error


def test_the_check_agrees_with_torch_and_draws_nothing() -> None:
    state = torch.get_rng_state()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Dropout(), nn.BatchNorm1d(3))
    torch.set_rng_state(state)
    with pytest.raises(UserError, match="(3)"):
        check_batch_norm(flat, torch.zeros(1, 1, 2, 2), {1, 8}, batch=8)
    check_batch_norm(flat, torch.zeros(1, 1, 2, 2), {2, 8}, batch=8)
    check_batch_norm(nn.BatchNorm2d(1), torch.zeros(1, 1, 2, 2), {1, 8}, batch=8)
    check_batch_norm(nn.SyncBatchNorm(1), torch.zeros(1, 1, 1, 1), {1, 8}, batch=8)
    assert torch.equal(torch.get_rng_state(), state) and flat[3].num_batches_tracked == 0


@pytest.mark.parametrize("shape", [(33, 16, 1, 1), (33, 16, 4, 2), (10, 16, 3, 1), (32, 16, 2, 2), (7, 3, 1, 2)])
def test_sizes_of_micro_batches_are_those_that_come(shape: tuple[int, int, int, int]) -> None:
    import numpy

    length, window, parts, ranks = shape
    plans = [TrainingPlan(lambda epoch: numpy.arange(length), length, window, parts, rank, ranks) for rank in range(ranks)]
    assert plans[0].sizes() == {len(index) for plan in plans for index, _ in plan.batches(0, 0)}
    first = {len(index) for plan in plans for index, _ in plan.batches(0, 0)[:parts]}
    assert plans[0].sizes(whole_epoch=False) == first


def test_a_batch_that_does_not_divide_is_a_warning_on_the_card(train: Train) -> None:
    assert batch_facts(64, 2, 2) == [("batch", "16 per rank x 2 ranks x 2 accumulated = 64 a step")]
    rows = [text for _, text in batch_facts(32, 1, 3)]
    assert rows[0].startswith("10 or 11 per rank") and "WARNING" in rows[1] and "30 or 33 would divide" in rows[1]
    code, log, _ = train(*TINY, "SOLVER.ACCUMULATE", "3", "SOLVER.MAX_EPOCHS", "1")
    assert code == 0 and "WARNING 16 samples do not divide by 3" in log, log


def test_test_images_of_another_size_are_refused_where_the_model_cannot_take_them(train: Train, tmp_path: Path) -> None:
    words = [*TINY, "SOLVER.MAX_EPOCHS", "1", "DATASETS.TEST", "synthetic:8x1x4x4x4"]
    code, error, _ = train(*words)
    assert code == 2 and "training images of 8 x 8" in error and "4 x 4" in error and not (tmp_path / "exp").exists(), error
    assert train(*words, "INPUT.TRANSFORMS_TRAIN", "[{Resize: {size: 4}}]", "DATASETS.VAL_FRACTION", "0")[0] == 0


def test_steps_that_never_come_are_said(train: Train) -> None:
    code, log, _ = train(*TINY, "SOLVER.MAX_EPOCHS", "1", "SOLVER.STEPS", "[1000]")
    assert code == 0 and "WARNING SOLVER.STEPS [1000]: none lies within" in log, log


@pytest.mark.slow
def test_compile_without_a_compiler_is_said(tmp_path: Path) -> None:
    words = (*TINY, "MODEL.COMPILE", "true", "--output-dir", str(tmp_path / "exp"))
    cache = str(tmp_path / "cache")
    done = command("tools/train_net.py", *words, CXX="no-such-compiler", TORCHINDUCTOR_CACHE_DIR=cache)
    assert done.returncode == 2 and "MODEL.COMPILE" in done.stderr and "compiler" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "exp").exists()


@pytest.fixture
def precision() -> Iterator[None]:
    """Leaves torch's setting as it was."""
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def test_matmul_precision_is_set_by_its_key_alone(train: Train, precision: None) -> None:
    torch.set_float32_matmul_precision("highest")
    assert train(*TINY, "SOLVER.MAX_EPOCHS", "1")[0] == 0 and torch.get_float32_matmul_precision() == "highest"
    assert train(*TINY, "SOLVER.MAX_EPOCHS", "1", "MODEL.MATMUL_PRECISION", "high")[0] == 0
    assert torch.get_float32_matmul_precision() == "high"
    code, error, _ = train(*TINY, "MODEL.MATMUL_PRECISION", "tf32")
    assert code == 2 and "highest, high, medium" in error
