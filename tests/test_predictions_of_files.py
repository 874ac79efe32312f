"""Image files of any kind are predicted with the probabilities of the run's own test, as they come, and in bounded memory."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import predict as predict_tool
import pytest
import test_net as test_tool
from conftest import ROOT, newest
from PIL import Image

from data.dataset import Dataset
from data.datasets import DATASETS
from data.datasets.image_folder import ImageFiles
from engine.shipping import Prediction, load_predictor
from engine.shipping.grid import draw_predictions
from engine.shipping.screen import make_writer
from engine.shipping.stream import AHEAD, read_ahead
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
SMALL = [
    "MODEL.NAME", "mlp", "MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "8", "SOLVER.MAX_EPOCHS", "1", "NAME", "small",
    "INPUT.SIZE_TRAIN", "(12,8)", "TEST.IMS_PER_BATCH", "7",
]  # fmt: skip
KINDS = ["a_rgb.jpg", "b_grey.png", "c_alpha.png", "d_palette.gif", "e_sixteen.png", "f_cmyk.jpg", "g_turned.jpg", "h_la.png"]


def write_image(path: Path, number: int) -> None:
    """Noise of the kind that the file's name says."""
    rng, kind = numpy.random.default_rng(number), path.stem[2:]
    pixels = rng.integers(0, 256, (30 + number % 5, 41, 4), dtype=numpy.uint8)
    image = {
        "rgb": lambda: Image.fromarray(pixels[..., :3]),
        "grey": lambda: Image.fromarray(pixels[..., 0]),
        "alpha": lambda: Image.fromarray(pixels),
        "palette": lambda: Image.fromarray(pixels[..., :3]).quantize(16),
        "sixteen": lambda: Image.fromarray(pixels[..., 0].astype(numpy.uint16) * 257),
        "cmyk": lambda: Image.fromarray(pixels, mode="CMYK"),
        "turned": lambda: Image.fromarray(pixels[..., :3]),
        "la": lambda: Image.fromarray(pixels[..., :2], mode="LA"),
    }[kind]()
    turned = Image.Exif()
    turned[0x0112] = 6
    path.parent.mkdir(parents=True, exist_ok=True)
    more: dict[str, Any] = {"exif": turned} if kind == "turned" else {}
    image.save(path, **more)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """train/ and test/ with two classes, each with a file of every kind."""
    for number, place in enumerate(f"{part}/{name}" for part in ("train", "test") for name in ("one", "two")):
        for kind, name in enumerate(KINDS):
            write_image(tmp_path / "pictures" / place / name, 10 * number + kind)
    return tmp_path / "pictures"


@pytest.fixture
def run(train: Train, tmp_path: Path, pictures: Path) -> Path:
    """A run of an epoch on them."""
    code, error, _ = train("DATASETS.TRAIN", f"image_folder:{pictures}", *SMALL)
    assert code == 0, error
    return newest(tmp_path / "exp")


def rows_of(text: str) -> list[dict[str, str]]:
    """The rows of a CSV."""
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("words", [[], ["SOLVER.PRECISION", "bf16"], ["TEST.AUGMENT", "[hflip,five_crop]"]], ids=str)
def test_probabilities_are_those_of_the_test(train: Train, run: Path, pictures: Path, words: list[str]) -> None:
    code, error, _ = train("small", *words, main=test_tool.main)
    assert code == 0, error
    tested = rows_of((run / "predictions.csv").read_text())
    pictures.rename(pictures.with_name("moved"))  # where the data was does not matter
    files = [row["path"].replace("/pictures/", "/moved/") for row in tested]
    code, error, said = train("small", *files, "--csv", *words, main=predict_tool.main)
    assert code == 0, error
    found = rows_of(said)
    assert [row["path"] for row in found] == files and len(files) == 2 * len(KINDS)
    for key in ("prediction", "confidence"):
        assert [row[key] for row in found] == [row[key] for row in tested]
    assert all(row["class_1"] == row["prediction"] and row["error"] == "" for row in found)


def test_what_cannot_be_read_is_told_and_the_rest_is_done(train: Train, run: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "test" / "one" / "a_rgb.jpg").write_text("no image")
    gone = str(tmp_path / "gone.jpg")
    code, error, said = train("small", gone, str(pictures / "test"), "--json", main=predict_tool.main)
    found = [json.loads(line) for line in said.splitlines()]
    assert code == 1 and len(found) == 17 and "2 of 17 files could not be read" in error
    assert found[0] == {"path": gone, "error": f"{gone}: no such file"} and "no image" in found[1]["error"]
    assert all(sum(top["probability"] for top in one["top"]) == pytest.approx(1, abs=1e-5) for one in found[2:])
    code, error, said = train("small", str(pictures / "test"), gone, main=predict_tool.main)
    lines = said.splitlines()
    assert code == 1 and len(lines) == 2 + 15 and "image" in lines[0] and "b_grey.png" in lines[2]
    code, error, said = train("small", gone, "--csv", main=predict_tool.main)
    assert code == 1 and rows_of(said) == [
        {**dict.fromkeys(rows_of(said)[0], ""), "path": gone, "error": f"{gone}: no such file"}
    ]


def test_odd_names_and_what_is_no_number_stop_nothing(run: Path, pictures: Path, tmp_path: Path) -> None:
    names = ["cost $5 $x^$.jpg", os.fsdecode(b"\xff.jpg")]
    files = [str(tmp_path / name) for name in names]
    for file in files:
        write_image(Path(file).with_name("a_rgb.jpg"), 0)
        (tmp_path / "a_rgb.jpg").rename(file)
    words = [sys.executable, str(ROOT / "tools" / "predict.py"), str(run), *files]
    done = subprocess.run(
        [*words, "--grid", str(tmp_path / "said.png")], capture_output=True, env={**os.environ, "COLUMNS": "80"}
    )
    assert done.returncode == 0 and (tmp_path / "said.png").exists(), done.stderr
    assert b"/cost $5 $x^$.jpg " in done.stdout and b"/\xff.jpg " in done.stdout
    shares = (("$x^$", math.nan), ("one", math.nan))
    said = [Prediction(file, "$x^$", math.nan, shares) for file in files]
    for form in ("table", "csv", "json"):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            writer = make_writer(form, "class", ["$x^$", "one"], 2, 80)
            for one in said:
                writer.write(one)
        lines = out.getvalue().splitlines()
        assert len(lines) == {"table": 4, "csv": 3, "json": 2}[form]
    found = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [one["path"] for one in found] == files and lines[1].isascii()
    assert found[0]["confidence"] is None and found[0]["top"][1] == {"class": "one", "probability": None}
    assert draw_predictions(said, 3, "$x^$", "$_{", tmp_path / "grid.pdf").exists()


def test_three_lines_of_python_predict(run: Path, pictures: Path) -> None:
    predictor = load_predictor(run, top=1)
    found = predictor([pictures / "test" / "one" / KINDS[0], "gone.jpg"])
    assert found[0].prediction in ("one", "two") and found[0].top == ((found[0].prediction, found[0].confidence),)
    assert found[1] == Prediction("gone.jpg", error="gone.jpg: no such file") and predictor([]) == []
    assert predictor("gone.jpg") == found[1:] and predictor(pictures / "test" / "one" / KINDS[0]) == found[:1]


@pytest.mark.slow
def test_paths_from_a_pipe_are_answered_as_they_come(run: Path, pictures: Path) -> None:
    words = [sys.executable, str(ROOT / "tools" / "predict.py"), str(run), "-", "--json"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdin is not None and process.stdout is not None
    for name in KINDS[:2]:  # the second is asked for when the first was answered
        path = str(pictures / "test" / "two" / name)
        process.stdin.write(path + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["path"] == path
    process.stdin.close()
    assert process.stdout.read() == "" and process.wait() == 0


def test_no_more_is_read_ahead_than_was_said_and_errors_keep_their_place() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    batches = read_ahead(items(), lambda number, item: 2 * item + number, size=5, threads=3)
    for number in range(4):
        assert next(batches) == [(n, 3 * n) for n in range(5 * number, 5 * number + 5)]
        time.sleep(0.05)
        assert taken <= 5 * (number + 1 + AHEAD) + 2
    batches.close()
    time.sleep(0.3)
    before = taken
    time.sleep(0.3)
    assert taken == before

    def broken() -> Iterator[int]:
        yield from range(7)
        raise UserError("no more")

    batches = read_ahead(broken(), lambda number, item: item, size=5, threads=1)
    assert [len(next(batches)), len(next(batches))] == [5, 2]
    with pytest.raises(UserError, match="no more"):
        next(batches)


def test_labels_are_all_those_that_are_probable(train: Train, pictures: Path, tmp_path: Path) -> None:
    files = sorted((pictures / "train").rglob("*.*"))
    rows = [f"{file},{'a|b' if n % 2 else 'c'}" for n, file in enumerate(files)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,targets", *rows]) + "\n")
    keys = ["LOSS.NAME", "binary", "TEST.EVALUATOR", "multilabel"]
    code, error, _ = train("DATASETS.TRAIN", f"csv:{table}", *SMALL, *keys)
    assert code == 0, error
    tested = rows_of((newest(tmp_path / "exp") / "predictions.csv").read_text())
    table.unlink()
    code, error, said = train("small", *(row["path"] for row in tested), "--csv", main=predict_tool.main)
    assert code == 0, error
    for key in ("prediction", "confidence"):
        assert [row[key] for row in rows_of(said)] == [row[key] for row in tested]
    code, error, said = train("small", tested[0]["path"], "--json", "--top", "9", main=predict_tool.main)
    found = json.loads(said)
    assert sorted(top["class"] for top in found["top"] if top["probability"] > 0.5) == found["prediction"]
    assert train("small", tested[0]["path"], main=predict_tool.main)[0] == 0


@DATASETS.register("brightness_of_files")
def brightness(place: str, root: str, train: bool, seed: int) -> Dataset | None:
    """The images below a folder, with a number each."""
    files = sorted(map(str, Path(place).rglob("*.*")))
    return ImageFiles("brightness", files, [float(n) for n in range(len(files))], []) if train else None


def test_values_are_numbers_and_what_is_no_classifier_is_refused(train: Train, pictures: Path, tmp_path: Path) -> None:
    keys = ["LOSS.NAME", "mse", "TEST.EVALUATOR", "regression"]
    code, error, _ = train("DATASETS.TRAIN", f"brightness_of_files:{pictures}", *SMALL, *keys)
    assert code == 0, error
    tested = rows_of((newest(tmp_path / "exp") / "predictions.csv").read_text())
    files = [row["path"] for row in tested]
    code, error, said = train("small", *files, "--csv", main=predict_tool.main)
    assert code == 0 and [row["prediction"] for row in rows_of(said)] == [row["prediction"] for row in tested], error
    code, error, said = train("small", *files, "--json", main=predict_tool.main)
    assert [json.loads(line)["value"] for line in said.splitlines()] == [float(row["prediction"]) for row in tested]
    code, error, said = train("small", *files, "--grid", str(tmp_path / "g.png"), main=predict_tool.main)
    assert code == 0 and len(said.splitlines()) == 2 + len(files) and (tmp_path / "g.png").exists()
    table = tmp_path / "numbers.csv"
    table.write_text("a,b,y\n" + "".join(f"{n},{n % 3},{n / 7}\n" for n in range(40)))
    code, error, _ = train("DATASETS.TRAIN", f"csv:{table}", *SMALL[:8], "NAME", "table", *keys)
    assert code == 0, error
    code, error, _ = train("table", *files, main=predict_tool.main)
    assert code == 2 and "tables of 2 columns, not on images" in error and error.count("\n") == 1


def test_wrong_words_to_predict_are_said_in_a_line(train: Train, run: Path, pictures: Path, tmp_path: Path) -> None:
    image = str(pictures / "test" / "one" / KINDS[0])
    (tmp_path / "empty").mkdir()
    for words, said in (
        (["small"], "FILE"),
        (["nobody", image], "nobody"),
        (["small", str(tmp_path / "empty")], "no images below it"),
        (["small", image, "--json", "--csv"], "take one of them"),
        (["small", image, "--top", "0"], "at least 1"),
        (["small", image, "--grid", "x.txt"], "a picture is a .png"),
        (["small", image, "--grid", str(tmp_path / "no" / "x.png")], "make it first"),
        (["small", image, "SOLVER.NOTHING", "1"], "SOLVER.NOTHING"),
    ):
        code, error, _ = train(*words, main=predict_tool.main)
        assert code == 2 and said in error and error.count("\n") == 1, error


def test_a_picture_shows_what_was_said_and_a_cameras_name_is_no_key(
    train: Train, run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "IMG_0001.JPG").write_bytes((pictures / "test" / "one" / "a_rgb.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    words = ["IMG_0001.JPG", str(pictures / "test"), "TEST.IMS_PER_BATCH", "3", "--grid", "said.png"]
    code, error, said = train("small", *words, main=predict_tool.main)
    assert code == 0 and "IMG_0001.JPG" in said and max(map(len, said.splitlines())) <= 80, error
    with Image.open("said.png") as picture:
        assert picture.width > 800 and len(picture.convert("RGB").getcolors(2**24) or []) > 500
    assert os.path.getsize("said.png") > 10_000
