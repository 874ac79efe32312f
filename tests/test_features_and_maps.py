"""Features of any images equal those that a run is scored by; maps of activations are drawn and tell images apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import extract as extract_tool
import numpy
import pytest
import torch
from conftest import newest
from PIL import Image
from torch import nn

from config import Override
from data import build_splits
from data.images import SUFFIXES
from engine import named_weights
from engine.analysis.activations import look
from engine.analysis.feature_maps import last_map, strength
from engine.build import build_task
from engine.evaluators.build import build_evaluator, make_scorer
from engine.features import extract, images_below
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
TINY = [
    "MODEL.NAME", "embedding", "MODEL.ARGS", "{backbone_args: {width: 4}}", "LOSS.TERMS", "[[cross_entropy,1],[triplet,1]]",
    "DATALOADER.SAMPLER", "identities", "TEST.EVALUATOR", "retrieval", "INPUT.SIZE_TRAIN", "(12,8)", "SOLVER.MAX_EPOCHS", "1",
    "SOLVER.IMS_PER_BATCH", "8", "MODEL.DEVICE", "cpu", "NAME", "tiny", "TEST.IMS_PER_BATCH", "7",
]  # fmt: skip


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """train/ and test/, 8 and 4 identities of 4 images each, of several sizes and kinds."""
    for number in range(48):
        part, identity = ("train", number // 4) if number < 32 else ("test", number // 4)
        folder = tmp_path / "people" / part / f"id{identity:02}"
        folder.mkdir(parents=True, exist_ok=True)
        rng = numpy.random.default_rng(number)
        pixels = rng.integers(0, 256, (24 + number % 3, 16, 3)) // 2 + 10 * identity
        Image.fromarray(pixels.astype(numpy.uint8)).save(folder / f"{number}_{number % 4}.{'jpg' if number % 2 else 'png'}")
    return tmp_path / "people"


@pytest.fixture
def run(train: Train, tmp_path: Path, people: Path) -> Path:
    """A run of an epoch on them."""
    code, error, _ = train("DATASETS.TRAIN", f"identity_folder:{people}", *TINY)
    assert code == 0, error
    return newest(tmp_path / "exp")


def test_features_of_files_are_those_of_the_test_bit_for_bit(run: Path, people: Path) -> None:
    changes = {"SEED": "0", "SOLVER.PRECISION": "bf16", "TEST.AUGMENT": "[hflip]", "INPUT.SIZE_TRAIN": "(24,16)"}
    for key, text in changes.items():
        overrides = [Override(key, text, "test")]
        cfg, weights, _ = named_weights.find_trained(run.parent, run.name, overrides)
        splits = build_splits(cfg)
        task, device = named_weights.test_task(cfg, splits, weights, build_task)
        outputs: list[torch.Tensor] = []
        scorer = make_scorer(cfg, task, splits, "test", device, build_evaluator(cfg, splits.num_classes, device))
        scorer(lambda out, _, to=outputs: to.append(out["feature"].float().clone()))
        features, bad = extract(run.name, images_below(people / "test"), folder=run.parent, overrides=overrides)
        assert not bad and features.dtype == torch.float32 and torch.equal(features, torch.cat(outputs))


def test_the_tool_writes_features_and_paths_that_need_no_pickle(train: Train, run: Path, people: Path, tmp_path: Path) -> None:
    (people / "test" / "notes.txt").write_text("no image")
    out = tmp_path / "found.npz"
    code, error, said = train("tiny", str(people / "test"), "-o", str(out), main=extract_tool.main)
    assert code == 0 and said.startswith(f"{out}: features 16 x ") and said.count("\n") == 1, error + said
    with numpy.load(out, allow_pickle=False) as file:
        assert sorted(file.files) == ["features", "paths"] and file["features"].dtype == numpy.float32
        assert file["paths"].tolist() == images_below(people / "test")
        first = extract(run, images_below(people / "test")[:7])[0]
        assert torch.equal(first, torch.from_numpy(file["features"][:7]))


def test_bad_images_are_named_counted_and_left_out(train: Train, run: Path, people: Path, tmp_path: Path) -> None:
    files = images_below(people / "test")
    Path(files[2]).write_bytes(Path(files[2]).read_bytes()[:60])
    Path(files[9]).write_text("<html>")
    good, bad = extract(run, files)
    assert torch.equal(extract(run, files[0])[0], extract(run, files[:1])[0])  # a path is not read letter by letter
    assert bad == [files[2], files[9]] and torch.equal(good, extract(run, [f for f in files if f not in bad])[0])
    code, error, said = train("tiny", str(people / "test"), f"--out={tmp_path / 'x.npz'}", main=extract_tool.main)
    assert code == 1 and "left out: 2 of 16" in said and files[2] in error and files[9] in error
    assert len(numpy.load(tmp_path / "x.npz")["paths"]) == 14
    code, error, said = train("tiny", str(people / "test"), "-o", str(tmp_path / "y.npz"), "--json", main=extract_tool.main)
    assert code == 1 and json.loads(said)["bad"] == bad and json.loads(said)["images"] == 14
    code, error, _ = train("tiny", files[9], "-o", str(tmp_path / "z.npz"), main=extract_tool.main)
    assert code == 1 and "none of the 1 images" in error and not (tmp_path / "z.npz").exists()


def test_images_of_any_size_are_resized_where_the_run_resized_none(train: Train, tmp_path: Path, people: Path) -> None:
    words = ["DATASETS.TRAIN", "synthetic:96x3x12x8x4", "MODEL.NAME", "embedding", "MODEL.ARGS", "{backbone_args: {width: 4}}"]
    code, error, _ = train(*words, *TINY[-10:], "TEST.AUGMENT", "[hflip]")
    assert code == 0, error
    features, bad = extract(newest(tmp_path / "exp"), images_below(people))
    assert not bad and len(features) == 48 and features.std(dim=0).max() > 0


def test_wrong_words_are_said_in_a_line(train: Train, run: Path, people: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for words, said in (
        (["tiny", str(tmp_path / "nowhere")], "no such folder or file"),
        (["tiny", str(empty)], f"no images below it ({SUFFIXES[0]}"),
        (["nobody", str(people)], "nobody"),
        (["tiny", str(people), "-o", "x.npy"], "is a .npz"),
        (["tiny", str(people), "-o", str(tmp_path / "no" / "x.npz")], "make it first"),
        (["tiny"], "FOLDER"),
        (["tiny", str(people), "-o"], "needs a value"),
    ):
        code, error, _ = train(*words, main=extract_tool.main)
        assert code == 2 and said in error and error.count("\n") == 1, error
    code, error, _ = train("DATASETS.TRAIN", "synthetic:96x3x8x8x4", "MODEL.NAME", "mlp", *TINY[-8:], "NAME", "plain")
    assert code == 0, error
    code, error, _ = train("plain", str(people), "-o", str(tmp_path / "x.npz"), main=extract_tool.main)
    assert code == 2 and "the model mlp gives no features" in error and "MODEL.NAME embedding" in error
    import analyze

    for words, said in (
        (["activations"], "activations RUN"),
        (["model", "tiny"], "takes no RUN"),
        (["ranked", "tiny", "--count", "-2"], "N is 1 or more"),
        (["activations", "tiny", "--top", "2"], "takes no --top"),
        (["ranked", "plain"], "nothing is searched for in its test split"),
        (["activations", "plain"], "no module of this model gives a map of features"),
        (["activations", "tiny", "--file", "x.txt"], "a picture is a"),
    ):
        code, error, _ = train(*words, main=analyze.main)
        assert code == 2 and said in error and error.count("\n") == 1, error


def test_a_picture_shows_where_activations_are_strong(train: Train, run: Path) -> None:
    import analyze

    code, error, said = train("activations", "tiny", "--count", "3", main=analyze.main)
    picture = run / "figures" / "activations_test.png"
    assert code == 0 and str(picture) in said, error
    with Image.open(picture) as image:
        assert image.width > 800 and len(image.convert("RGB").getcolors(2**24) or []) > 500
    cfg, weights, _ = named_weights.find_trained(run.parent, run.name, [])
    splits = build_splits(cfg)
    task, device = named_weights.test_task(cfg, splits, weights, build_task)
    seen = look(cfg, task, splits, "test", device, 3, classifies=False).seen
    assert len(seen) == 3 and not torch.equal(seen[0].strength, seen[1].strength)
    assert all(one.strength.min() == 0 and one.strength.max() == 1 and one.name.startswith("id") for one in seen)
    assert not any(module._forward_hooks for module in task.model.modules())


def test_the_last_map_is_that_of_the_last_module_with_room() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    name, features, _ = last_map(model, torch.rand(2, 1, 6, 6))
    assert name == "0" and features.shape == (2, 2, 4, 4)
    expected = features.square().sum(dim=1).sqrt()
    whole = strength(features, (4, 4))
    least, most = (value(expected[0]) for value in (torch.min, torch.max))
    assert torch.allclose(whole[0], (expected[0] - least) / (most - least), atol=1e-6)
    assert not strength(torch.ones(1, 3, 2, 2), (4, 4)).any()
    with pytest.raises(UserError, match="no module of this model"):
        last_map(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(2, 1, 2, 2))


def test_pictures_show_as_many_queries_and_finds_as_are_asked_for(train: Train, run: Path) -> None:
    import analyze

    code, error, said = train("ranked", "tiny", "--count", "9", "--top", "3", main=analyze.main)
    pictures = [run / "figures" / f"ranked_test_{number:03}.png" for number in (1, 2)]
    assert code == 0 and all(f"picture: {path}\n" in said and path.is_file() for path in pictures), error
