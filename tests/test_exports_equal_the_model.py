"""Exported files give what the run's own model gives, without Fieldbook; one that does not is not put there."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import export as export_tool
import numpy
import predict as predict_tool
import pytest
import torch
from conftest import ROOT, newest, read_json
from PIL import Image
from test_predictions_of_files import KINDS, SMALL, write_image
from torch import Tensor, nn

from engine import named_weights
from engine.shipping import export, formats
from engine.shipping.build import load_for_export, sample_images
from engine.shipping.exported import Exported, preprocessing, step_of
from modeling.models import MODELS

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
Train = Callable[..., tuple[int, str, str]]
PLAIN: dict[str, Any] = {"channels": 3, "size": (10, 12), "kind": "class", "classes": ["one", "two"]}
# Runs a script with no path of Fieldbook's among sys.path, and says whether a room of it was imported nevertheless.
ALONE = (
    "import runpy, sys; root, script, *rest = sys.argv[1:]\n"
    "sys.path[:] = [script.rpartition('/')[0], *(p for p in sys.path if p and not p.startswith(root + '/t') and p != root)]\n"
    "sys.argv = [script, *rest]; runpy.run_path(script)\n"
    "assert not {'engine', 'data', 'utils', 'modeling'} & set(sys.modules)"
)


@MODELS.register("asks_for_values")
class AsksForValues(nn.Module):
    """What it does depends on the pixels, which no exporter can record."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(in_channels, num_classes)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """A dict, as models may give."""
        mean = image.mean(dim=(2, 3))
        if mean.sum() > 0:
            mean = mean * 2
        return {"logits": self.head(mean)}


@MODELS.register("never_the_same")
class NeverTheSame(nn.Module):
    """Draws in evaluation as well."""

    def __init__(self, *, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(in_channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Some of the channels."""
        return self.head(nn.functional.dropout(image.mean(dim=(2, 3)), 0.5, training=True))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """train/ and test/ with two classes, each with a file of every kind."""
    for number, place in enumerate(f"{part}/{name}" for part in ("train", "test") for name in ("one", "two")):
        for kind, name in enumerate(KINDS):
            write_image(tmp_path / "pictures" / place / name, 10 * number + kind)
    return tmp_path / "pictures"


def trained(train: Train, tmp_path: Path, *words: str) -> Path:
    """A run of an epoch."""
    code, error, _ = train(*SMALL, *words)
    assert code == 0, error
    return newest(tmp_path / "exp")


def alone(script: Path, *words: str) -> str:
    """What an example prints where there is no Fieldbook."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(ROOT), str(script), *words], cwd=script.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_examples_say_what_predict_says_where_there_is_no_fieldbook(train: Train, pictures: Path, tmp_path: Path) -> None:
    run = trained(train, tmp_path, "DATASETS.TRAIN", f"image_folder:{pictures}", "SOLVER.EMA_DECAY", "0.9")
    code, error, said = train("small", "--json", main=export_tool.main)
    assert code == 0, error
    found = json.loads(said)
    assert [row["format"] for row in found["formats"]] == ["pytorch", "onnx", "torch-export", "safetensors"]
    assert all(row["worst"] <= row["allowed"] and row["images"] == 16 for row in found["formats"])
    assert all(sorted(row["latency_ms"]) == ["1", "32"] for row in found["formats"])
    folder = (run / "export").rename(tmp_path / "elsewhere")
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    files = [str(path) for path in sorted((pictures / "test" / "one").iterdir())]
    code, _, said = train("small", *files, "--json", "--top", "2", main=predict_tool.main)
    expected = [{top["class"]: top["probability"] for top in json.loads(line)["top"]} for line in said.splitlines()]
    for script in ("run_onnx.py", "run_torch_export.py"):
        lines = alone(folder / script, *files).splitlines()
        for line, file, one in zip(lines, files, expected, strict=True):
            shares = {name: float(share) for name, share in re.findall(r"(one|two) ([\d.]+)", line.removeprefix(file))}
            assert line.startswith(f"{file}: ") and shares == pytest.approx(one, abs=0.005), line
    assert f"{sum(v.numel() for v in state(run).values()):,} numbers" in alone(folder / "load_safetensors.py")


def state(run: Path) -> dict[str, Tensor]:
    """The best weights of a run."""
    content: dict[str, Any] = torch.load(run / "weights" / "best.pt", weights_only=True)["model"]
    return content


@pytest.mark.slow
def test_retrieval_models_and_those_of_libraries_are_exported(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr(export, "SECONDS", 0.0)
    retrieval = ["MODEL.ARGS", "{backbone_args: {width: 4}}", "DATALOADER.SAMPLER", "identities", "TEST.EVALUATOR", "retrieval"]
    for number in range(48):
        part, identity = ("train", number // 4) if number < 32 else ("test", number // 4)
        place = tmp_path / "people" / part / f"id{identity:02}" / f"{number}_{number % 4}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        pixels = numpy.random.default_rng(number).integers(0, 256, (12, 8, 3), dtype=numpy.uint8)
        Image.fromarray(pixels).save(place)
    data = ["DATASETS.TRAIN", f"identity_folder:{tmp_path / 'people'}", "LOSS.TERMS", "[[cross_entropy,1],[triplet,1]]"]
    cases = [
        ([*data, "MODEL.NAME", "embedding", *retrieval], "feature", "onnx,torch-export"),
        (
            ["DATASETS.TRAIN", "synthetic:32x1x32x32x3", "MODEL.NAME", "timm/resnet10t", "INPUT.SIZE_TRAIN", "32"],
            "logits",
            "torch-export",
        ),
        (
            ["DATASETS.TRAIN", "synthetic:32x1x32x32x3", "MODEL.NAME", "torchvision/squeezenet1_1", "MODEL.IN_CHANNELS", "3"]
            + ["INPUT.SIZE_TRAIN", "32", "MODEL.CHANNELS_LAST", "true", "TEST.AUGMENT", "[hflip]", "SOLVER.PRECISION", "bf16"],
            "logits",
            "onnx",
        ),
    ]
    for words, output, to in cases:
        run = trained(train, tmp_path, *words, "TEST.FIGURES", "false")
        assert read_json(run / "test.json").get("queries") == (16 if output == "feature" else None)
        code, error, said = train("small", "--to", to, "--json", main=export_tool.main)
        assert code == 0 and ("TEST.AUGMENT" in error) == ("TEST.AUGMENT" in words), error
        facts = read_json(run / "export" / "preprocessing.json")
        assert facts["output"]["name"] == output
        if "onnx" not in to:
            continue
        session = onnxruntime.InferenceSession(str(run / "export" / "model.onnx"))
        assert output == session.get_outputs()[0].name
        cfg, weights, _ = named_weights.find_trained(run.parent, run.name, [])
        loaded = load_for_export(cfg, weights)
        images, model = sample_images(loaded, 7), Exported(loaded)
        for size in (1, 2, 7):
            (found,) = session.run(None, {"image": images[:size].numpy()})
            assert numpy.allclose(found, model(images[:size]).numpy(), atol=1e-4)


@pytest.mark.slow
def test_what_cannot_be_exported_says_why_and_leaves_nothing(train: Train, pictures: Path, tmp_path: Path) -> None:
    data = ["DATASETS.TRAIN", f"image_folder:{pictures}"]
    run = trained(train, tmp_path, *data, "MODEL.NAME", "asks_for_values")
    out = tmp_path / "out"
    code, error, said = train("small", "-o", str(out), "--to", "torch-export,safetensors", main=export_tool.main)
    assert code == 1 and "torch-export: " in error and "torch.where" in error and "safetensors takes any model" in error
    said_why = next(line for line in error.splitlines() if "torch-export: " in line)
    assert "ependent" in said_why and len(said_why) < 600
    assert sorted(path.name for path in out.iterdir()) == [
        "MODEL_CARD.md", "common.py", "export.json", "load_safetensors.py", "model.safetensors", "preprocessing.json",
    ]  # fmt: skip
    assert "failed" in said and not (run / "export").exists()
    (out / "model.pt2").write_text("an older one")
    trained(train, tmp_path, *data, "MODEL.NAME", "never_the_same")
    code, error, said = train("small", "-o", str(out), "--to", "torch-export", "--json", main=export_tool.main)
    row = json.loads(said)["formats"][1]
    assert code == 1 and "differs from the model" in row["failed"] and row["worst"] > row["allowed"]
    assert (out / "model.pt2").read_text() == "an older one" and not list(out.glob(".*"))


def test_safetensors_are_the_weights_bit_for_bit(train: Train, pictures: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run = trained(train, tmp_path, "DATASETS.TRAIN", f"image_folder:{pictures}")
    code, error, said = train("small", "--to", "safetensors", main=export_tool.main)
    assert code == 0 and "safetensors" in said and str(run / "export") in said, error
    weights, expected = load_file(run / "export" / "model.safetensors"), state(run)
    assert weights.keys() == expected.keys() and all(torch.equal(weights[name], expected[name]) for name in expected)
    assert (run / "export" / "model.safetensors").stat().st_mode & 0o044 == 0o044


@pytest.mark.slow
def test_all_files_of_a_folder_are_of_one_model(
    train: Train, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = ["DATASETS.TRAIN", f"image_folder:{pictures}"], tmp_path / "out"
    (out / f".writing-export.{os.getpid()}").mkdir(parents=True)  # as an export leaves it that was killed
    trained(train, tmp_path, *data)
    older = {"model.pt2", "run_torch_export.py"}

    def exported(to: str) -> tuple[int, list[dict[str, Any]], set[str]]:
        code, error, said = train("small", "-o", str(out), "--to", to, "--json", main=export_tool.main)
        rows = json.loads(said, parse_constant=lambda name: pytest.fail(name))["formats"]
        return code, rows, {path.name for path in out.iterdir()}

    assert exported("torch-export")[0] == 0
    code, rows, files = exported("safetensors")  # of the same weights: both stay
    assert code == 0 and [row["format"] for row in rows] == ["pytorch", "safetensors", "torch-export"] and older < files
    assert read_json(out / "export.json")["formats"] == rows and "model.pt2" in (out / "MODEL_CARD.md").read_text()
    (out / "model.pt2").write_text("an older one")
    assert not older & exported("safetensors")[2]
    assert exported("torch-export")[0] == 0
    trained(train, tmp_path, *data, "SEED", "7")
    assert not older & exported("safetensors")[2]
    for name in older:
        (out / name).write_text("an older one")
    other = dataclasses.replace(formats.FORMATS["torch-export"], load=lambda path, model: lambda images: images.float())
    monkeypatch.setitem(formats.FORMATS, "torch-export", other)
    code, rows, files = exported("torch-export,safetensors")
    assert code == 1 and "in its shape" in rows[1]["failed"] and rows[1]["worst"] is None and not older & files


def test_wrong_words_to_export_are_said_in_a_line(
    train: Train, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(train, tmp_path, "DATASETS.TRAIN", f"image_folder:{pictures}")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxscript" else name)
    for words, said in (
        (["small", "--to", "onx"], "onnx"),
        (["small", "--to", ","], "names no format"),
        (["small"], "pip install onnxscript"),
        (["nobody", "--to", "safetensors"], "nobody"),
        (["small", "--to", "safetensors", "-o", str(tmp_path / "file" / "x")], "cannot be written"),
    ):
        code, error, _ = train(*words, main=export_tool.main)
        assert code == 2 and said in error and error.count("\n") == 1, error
    pictures.rename(tmp_path / "moved")
    code, error, _ = train("small", "--to", "safetensors", main=export_tool.main)
    assert code == 2 and "no such folder" in error and error.count("\n") == 1


@pytest.mark.parametrize("name", ["Resize", "torchvision/Resize"])
def test_examples_read_what_the_test_reads(name: str, tmp_path: Path) -> None:
    from data.datasets.image_folder import ImageFiles
    from data.loaders.loader import Fetcher
    from data.transforms.build import make_transforms

    pixels = numpy.random.default_rng(0).integers(0, 256, (200, 260, 3), dtype=numpy.uint8) // 128 * 255
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(pixels[..., 0].astype(numpy.float32)).save(tmp_path / "float.tif")
    Image.fromarray(pixels[..., 0].astype(numpy.int32) * 300).save(tmp_path / "long.tif")
    transforms = make_transforms([{name: {"size": [10, 12]}}], {"size": (10, 12)}, "TEST")
    prepare = SimpleNamespace(describe=lambda: {"scale": 255, "mean": [], "std": [], "repeat": 1})
    facts = preprocessing(cast(Any, SimpleNamespace(prepare=prepare, transforms=transforms, **PLAIN)))
    (tmp_path / "preprocessing.json").write_text(json.dumps(facts))
    (tmp_path / "common.py").write_text((ROOT / "engine/shipping/examples/common.py").read_text())
    common = runpy.run_path(str(tmp_path / "common.py"))
    sample = Fetcher(ImageFiles("images", [str(tmp_path / "a.jpg")], [0.0], [], 3), transforms, 0, skip_bad=False).read(0, 0, 0)
    assert isinstance(sample, dict)
    gap = common["read"](tmp_path / "a.jpg").astype(int) - sample["image"].numpy().astype(int)
    assert abs(gap).max() <= 1
    for file in ("float.tif", "long.tif"):
        with pytest.raises(SystemExit, match="convert the image"):
            common["read"](tmp_path / file)


def test_files_of_any_size_are_resized_where_those_of_the_set_needed_no_step() -> None:
    prepare = SimpleNamespace(describe=lambda: {"scale": 255, "mean": [], "std": [], "repeat": 1})
    facts = preprocessing(cast(Any, SimpleNamespace(prepare=prepare, transforms=[], **PLAIN)))
    assert facts["steps"] == [{"resize": list(PLAIN["size"]), "draft": True}]


def test_steps_of_a_test_are_said_in_plain_words() -> None:
    from data.transforms.build import make_transforms

    words = [
        "Resize",
        {"CenterCrop": {"size": [4, 6]}},
        {"torchvision/Resize": {"size": 9}},
        {"torchvision/CenterCrop": {"size": 5}},
    ]
    made = make_transforms([*words, {"torchvision/Resize": {"size": [3, 2]}}, "RandomHorizontalFlip"], {"size": (8, 7)}, "TEST")
    steps: list[dict[str, Any]] = [{"resize": [8, 7]}, {"center_crop": [4, 6]}, {"resize_shorter": 9}, {"center_crop": [5, 5]}]
    assert [step_of(one) for one in made] == [*steps, {"resize": [3, 2]}, {"other": "RandomHorizontalFlip"}]
