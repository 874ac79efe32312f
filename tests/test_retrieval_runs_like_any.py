"""Retrieval takes the same loop as classification: resume, ranks, average and precision act on it as on any run, and exp.py
reads it. On real drawings it learns what the pixels do not say."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from conftest import command, needs_benchmarks, newest, read_json
from PIL import Image
from test_ranks_agree import TOLERANCE, launch, weights
from test_resume_equals_uninterrupted import assert_a_resumed_run_is_equal, final

Train = Callable[..., tuple[int, str, str]]


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """16 identities with 4 images each, from two cameras: a colour for each, with noise."""
    rng = numpy.random.default_rng(0)
    for identity in range(16):
        folder = tmp_path / "people" / f"{identity:02}"
        folder.mkdir(parents=True)
        colour = rng.integers(0, 60, size=3)
        for number in range(4):
            pixels = (colour + rng.integers(0, 190, size=(12, 8, 3))).astype(numpy.uint8)
            Image.fromarray(pixels).save(folder / f"{number}_{number % 2}.png")
    return tmp_path / "people"


def words(people: Path, *more: str) -> list[str]:
    """Three epochs, with an average of the weights."""
    return [
        "DATASETS.TRAIN", f"identity_folder:{people}", "DATASETS.VAL_FRACTION", "0.2", "MODEL.DEVICE", "cpu", "MODEL.NAME",
        "embedding", "MODEL.ARGS", "{feature_dim: 16}", "LOSS.TERMS", "[[cross_entropy,1],[triplet,1],[center,0.01]]",
        "DATALOADER.SAMPLER", "identities", "DATALOADER.INSTANCES", "2", "SOLVER.IMS_PER_BATCH", "8", "SOLVER.MAX_EPOCHS",
        "3", "SOLVER.EMA_DECAY", "0.8", "TEST.EVALUATOR", "retrieval", "SOLVER.LOG_PERIOD", "1", "NAME", "people", *more,
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    precision: str, people: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = words(people, "SOLVER.PRECISION", precision, "INPUT.TRANSFORMS_TRAIN", "[PadCrop, RandomErasing]")
    assert {"ema", "loss"} <= final(assert_a_resumed_run_is_equal(train, call, 5, tmp_path / "exp", monkeypatch)).keys()


@pytest.mark.slow
def test_two_ranks_train_as_one_that_accumulates(people: Path, tmp_path: Path) -> None:
    """Either way a step's images come in the same two parts, each with triplets and batch statistics of its own."""
    two = launch(tmp_path / "two", *words(people), ranks=2)
    one = launch(tmp_path / "one", *words(people, "SOLVER.ACCUMULATE", "2"))
    assert read_json(two / "run.json")["world_size"] == 2 and len(weights(two)) > 10
    for name, value in weights(one).items():
        if "running" not in name and "num_batches" not in name:  # these see one of the parts on each rank, both on one
            assert torch.allclose(value, weights(two)[name], atol=10 * TOLERANCE, rtol=0), name
    centers = [torch.load(run / "weights" / "last.pt", weights_only=True)["loss"]["terms.2.centers"] for run in (one, two)]
    assert torch.allclose(centers[0], centers[1], atol=10 * TOLERANCE, rtol=0)
    scores = [read_json(run / "test.json")["metrics"] for run in (one, two)]
    done = command("tools/test_net.py", str(two), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metrics"] == scores[1]  # of the same weights: what two ranks found, one finds
    assert scores[0].keys() == scores[1].keys() and 0 < scores[1]["test/mAP"] < 1


@pytest.mark.slow
def test_runs_are_listed_ranked_and_pooled(people: Path, train: Train, tmp_path: Path) -> None:
    import exp

    for seed in ("1", "2"):
        assert train(*words(people), "--seed", seed)[0] == 0
    runs = [run for run in (tmp_path / "exp").iterdir() if not run.name.startswith(".")]
    found = [read_json(run / "test.json")["metrics"]["test/mAP"] for run in runs]
    code, _, printed = train("ls", "--json", main=exp.main)
    assert code == 0 and len(json.loads(printed)) == 2
    code, _, printed = train("best", "test/mAP", "--json", main=exp.main)
    assert code == 0 and json.loads(printed)[0]["metrics"]["test/mAP"]["best"] == max(found)
    code, _, printed = train("groups", "test/mAP", "--json", main=exp.main)
    group = json.loads(printed)[0]
    assert code == 0 and group["n"] == 2 and group["mean"] == pytest.approx(sum(found) / 2) and max(found) > min(found)


@needs_benchmarks
@pytest.mark.slow
def test_a_short_training_beats_the_pixels_on_unseen_alphabets(shared: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared / "omniglot" / "images_background_small1.zip") as file:
        file.extractall(tmp_path / "omniglot")
    done = command("-m", "benchmarks.omniglot_baselines", "--json", "--seeds", "1", "DATASETS.ROOT", str(tmp_path))
    assert done.returncode == 0, done.stderr
    without = json.loads(done.stdout)
    assert without["untrained_rank1"] < without["pixels_rank1"] < 0.6
    recipe = ["--config-file", "configs/train_omniglot_triplet.yml", "DATASETS.ROOT", str(tmp_path), "MODEL.DEVICE", "cpu"]
    done = command("tools/train_net.py", *recipe, "--epochs", "4", "--output-dir", str(tmp_path / "exp"))
    assert done.returncode == 0, done.stderr
    scores = read_json(newest(tmp_path / "exp") / "test.json")["metrics"]
    assert scores["test/rank1"] > without["pixels_rank1"] + 0.2 and scores["test/mAP"] > without["pixels_mAP"] + 0.2, scores
