"""A run on identities is scored, recorded and drawn; what cannot be scored is said before there is a run."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from conftest import command, needs_benchmarks, newest, read_json
from PIL import Image

from engine.evaluators.retrieval import RetrievalEvaluator

Train = Callable[..., tuple[int, str, str]]


def draw(folder: Path, identities: int, cameras: str = "12", images: int = 2, first: int = 0) -> Path:
    """Small pictures: `images` of each identity by each camera, their colour its identity's; a camera "-" is not named."""
    for identity in range(first, first + identities):
        rng = numpy.random.default_rng(identity)
        colour = rng.integers(0, 256, 3)
        (folder / f"id{identity}").mkdir(parents=True)
        for camera in cameras:
            for number in range(images):
                pixels = (0.6 * colour + 0.4 * rng.integers(0, 256, (12, 6, 3))).astype(numpy.uint8)
                name = f"shot{number}_{camera}.png" if camera != "-" else f"shot{number}.png"
                Image.fromarray(pixels).save(folder / f"id{identity}" / name)
    return folder


def words(folder: Path, *more: str) -> list[str]:
    """A run of an epoch."""
    return [
        "DATASETS.TRAIN", f"identity_folder:{folder}", "MODEL.NAME", "embedding", "MODEL.ARGS",
        "{backbone_args: {width: 4}, classifier: false, neck: none}", "MODEL.DEVICE", "cpu", "LOSS.NAME", "triplet",
        "DATALOADER.SAMPLER", "identities", "TEST.EVALUATOR", "retrieval", "INPUT.SIZE_TRAIN",
        "(12,6)", "SOLVER.IMS_PER_BATCH", "8", "SOLVER.MAX_EPOCHS", "1", "NAME", "tiny", *more,
    ]  # fmt: skip


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """train/, query/ and gallery/."""
    folder = tmp_path / "market"
    draw(folder / "train", 12, first=20)
    draw(folder / "query", 5, "1", 1)
    draw(folder / "gallery", 6, "23", 2)
    return folder


def test_a_run_records_scores_predictions_and_a_picture(train: Train, tmp_path: Path, market: Path) -> None:
    code, error, _ = train(*words(market, "SOLVER.EMA_DECAY", "0.5", "SOLVER.PRECISION", "bf16"))
    assert code == 0, error
    run = newest(tmp_path / "exp")
    scores = read_json(run / "test.json")["metrics"]
    assert list(scores)[:3] == ["test/rank1", "test/rank5", "test/rank10"] and scores["test/rank20"] == 1.0
    assert read_json(run / "status.json")["primary_metric"] == "val/rank1"
    rows = list(csv.DictReader((run / "predictions.csv").open()))
    assert [row["target"] for row in rows] == [f"id{n}" for n in range(5)]
    right = sum(row["target"] == row["prediction"] for row in rows) / 5
    assert right == pytest.approx(scores["test/rank1"]) and all(-1 <= float(row["confidence"]) <= 1 for row in rows)
    assert all("/query/" in row["path"] for row in rows)
    with Image.open(run / "figures" / "ranked_test.png") as picture:
        assert picture.width > 1000 and picture.height > 1000


def test_features_are_averaged_over_views_and_bad_samples_are_left_out(train: Train, tmp_path: Path, market: Path) -> None:
    bad = market / "gallery" / "id0" / "shot0_2.png"
    bad.write_bytes(bad.read_bytes()[:60])
    more = ["TEST.AUGMENT", "[hflip]", "DATALOADER.BAD_SAMPLES", "skip", "DATALOADER.MAX_BAD", "0.5"]
    code, error, _ = train(*words(market, *more, "TEST.RERANK", "true", "TEST.DISTANCE", "euclidean"))
    assert code == 0, error
    test = newest(tmp_path / "exp") / "test.json"
    assert read_json(test)["samples"] == 28 and "changes" not in read_json(test)
    import test_net

    code, error, printed = train(str(test.parent), "TEST.RERANK", "false", main=test_net.main)
    assert code == 0 and read_json(test)["changes"] == {"TEST.RERANK": False}, error
    assert "said for this test: TEST.RERANK False" in printed


def test_titles_say_how_a_ranking_was_made() -> None:
    assert RetrievalEvaluator().manner == ""
    assert RetrievalEvaluator(distance="euclidean", rerank=True).manner == " (euclidean, re-ranked)"


def test_several_sources_have_scores_of_their_own(train: Train, tmp_path: Path, market: Path) -> None:
    other = draw(tmp_path / "other", 6)
    both = f"[identity_folder:{market},identity_folder:{other}]"
    more = ["DATASETS.TEST", both, "DATASETS.VAL", both, "TEST.PRIMARY_METRIC", "rank1_other"]
    code, error, _ = train(*words(market, *more, "--expect", "test/rank1_other > 0"))
    assert code == 0 and "of market 29, other 24; 12 identities to learn" in re.sub(r"[\s│]+", " ", error), error
    assert "this run gives no" not in error
    assert read_json(newest(tmp_path / "exp") / "status.json")["primary_metric"] == "val/rank1_other"
    scores = read_json(newest(tmp_path / "exp") / "test.json")["metrics"]
    assert code == 0 and {"test/rank1_market", "test/mAP_market", "test/rank1_other", "test/mAP_other"} <= set(scores), error


def test_what_cannot_be_scored_is_said_before_training(train: Train, tmp_path: Path) -> None:
    folder = draw(tmp_path / "sets" / "train", 12).parent
    draw(folder / "query", 3, "1", first=20)
    draw(folder / "gallery", 3, "1", first=20)
    code, error, _ = train(*words(folder))
    assert code == 2 and "the test split of" in error and "none of 6 queries has a match" in error and error.count("\n") == 1, (
        error
    )
    code, error, _ = train(*words(folder, "TEST.EVALUATOR", "classification", "MODEL.ARGS", "{}"))
    assert code == 2 and "TEST.EVALUATOR classification is not for the targets" in error, error
    code, error, _ = train("DATASETS.TRAIN", "synthetic:64x1x8x8x4", "TEST.EVALUATOR", "retrieval", "MODEL.NAME", "mlp")
    assert code == 2 and "TEST.EVALUATOR retrieval is not for the targets" in error, error
    code, error, _ = train(*words(folder, "TEST.PROTOCOL", "market"))
    assert code == 2 and "market1501, cuhk03" in error, error
    draw(folder / "gallery", 1, "-", first=27)
    draw(folder / "query", 1, "2", first=27)
    code, error, _ = train(*words(folder))
    assert code == 2 and "2 of 8 images end in no camera's number" in error and "shot0.png" in error, error
    good = draw(tmp_path / "good", 12)
    code, error, _ = train(*words(good, "TEST.PRIMARY_METRIC", "rank7"))
    assert code == 2 and error.rstrip().endswith("mAP, mINP"), error
    code, error, _ = train(*words(good, "TEST.PRIMARY_METRIC", "loss"))
    assert code == 2 and "take rank1 or mAP" in error, error
    assert not (tmp_path / "exp").exists()


def test_queries_without_a_match_are_counted_in_a_warning(train: Train, tmp_path: Path, market: Path) -> None:
    draw(market / "query", 2, "1", 1, first=50)
    code, error, _ = train(*words(market, "SOLVER.MAX_STEPS", "1"))
    assert code == 0 and "WARNING 2 of 7 queries of the test split of" in error and error.count("have no match") == 1, error
    rows = list(csv.DictReader((newest(tmp_path / "exp") / "predictions.csv").open()))
    assert len(rows) == 7


@pytest.mark.slow
def test_two_ranks_give_the_scores_and_predictions_of_one(train: Train, tmp_path: Path, market: Path) -> None:
    code, error, _ = train(*words(market, "TEST.IMS_PER_BATCH", "5"))
    assert code == 0, error
    run = newest(tmp_path / "exp")
    found = []
    for ranks in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]):
        words_of_test = ["tools/test_net.py", str(run), "--json", "TEST.RERANK", "true", "TEST.PROTOCOL", "cuhk03"]
        done = command(*ranks, *words_of_test)
        assert done.returncode == 0, done.stderr
        found.append((json.loads(done.stdout), (run / "predictions.csv").read_text()))
    assert found[0] == found[1]


@needs_benchmarks
@pytest.mark.slow
def test_memory_above_the_features_is_bounded() -> None:
    done = command("-m", "benchmarks.retrieval", "peak")
    assert done.returncode == 0 and float(done.stdout.split()[-1]) < 400, done.stderr


EVALUATED = """
import sys, torch
from benchmarks.retrieval import memory
from engine.evaluators.retrieval import RetrievalEvaluator

def told(evaluator, count):
    for start in range(0, count, 500):
        index = torch.arange(start, start + 500)
        facts = {"index": index, "target": index % 700, "camera": index % 3, "query": index % 3000 == 0, "gallery": index > 0}
        evaluator.update({"feature": torch.randn(500, 512)}, facts)

evaluator = RetrievalEvaluator(distance=sys.argv[1])
told(evaluator, 1000), evaluator.compute(), evaluator.reset()  # what libraries take once
empty, count = memory("VmRSS"), 60000
told(evaluator, count)
kept = memory("VmRSS") - empty
open("/proc/self/clear_refs", "w").write("5")
evaluator.compute(), evaluator.nearest()
most = memory("VmHWM") - empty
evaluator.reset()
print(count * 512 * 4 / 2**20, kept, most, memory("VmRSS") - empty)
"""


@needs_benchmarks
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is asked of Linux")
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_evaluator_holds_the_features_once(distance: str) -> None:
    """Also while it brings them together, makes them of length 1, and takes queries and gallery out of them."""
    done = command("-c", EVALUATED, distance, MALLOC_MMAP_THRESHOLD_="65536")  # what is freed leaves the process
    assert done.returncode == 0, done.stderr
    features, kept, most, left = map(float, done.stdout.split())
    assert 0.9 * features < kept < 1.2 * features and most < 1.75 * features and left < 0.2 * features, done.stdout


def test_scores_that_say_nothing_are_said_before_training(train: Train, tmp_path: Path) -> None:
    """Where one identity is all that can be found every model scores 1, and `best.pt` would be chosen by a constant."""
    folder = draw(tmp_path / "people", 12)
    code, error, _ = train(*words(folder, "DATASETS.FOLDS", "10", "SOLVER.IMS_PER_BATCH", "4"))
    assert code == 2 and "the val split of" in error and "all 4 gallery images are of one identity" in error, error
    assert "change what leaves one" in error and error.count("\n") == 1 and not (tmp_path / "exp").exists()
    code, error, _ = train(*words(folder, "DATASETS.VAL_FRACTION", "0.05", "SOLVER.MAX_STEPS", "1"))
    assert code == 0 and error.count("so that rank10, rank20 are 1 whatever the model") == 2, error
    assert "the gallery of the val split of" in error and "has 8 images" in error
    assert "val 8 (2 identities" in " ".join(error.replace("│", " ").split())  # the card breaks lines
    assert "by chance" not in error
    code, error, _ = train(*words(folder, "DATALOADER.SAMPLER", "shuffle", "SOLVER.MAX_STEPS", "1"))
    assert code == 0 and "SAMPLER shuffle gives them by chance only: 8 images at a time of 8 identities" in error, error
