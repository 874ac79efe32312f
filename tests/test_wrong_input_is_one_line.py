"""What a user gets wrong ends in one line with the remedy and exit code 2, and leaves no run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TINY

Train = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SOLVER.BASE_LT", "1"], "did you mean SOLVER.BASE_LR"),
        (["SOLVER.MAX_EPOCHS", "many"], "expects a whole number, got 'many'"),
        (["--config-file", "nowhere.yml"], "nowhere.yml"),
        (["DATASETS.TRAIN", "digit"], "did you mean digits"),
        (["DATASETS.TRAIN", "image_folder:nowhere"], "no such folder"),
        (["DATASETS.TRAIN", "csv:nowhere.csv"], "no such file"),
        (["MODEL.NUM_CLASSES", "7"], "has 4 classes"),
        (["MODEL.NAME", "torchvision/resnet19"], "did you mean resnet"),
        (["MODEL.NAME", "lenet"], "at least 12 x 12"),
        (["MODEL.DEVICE", "cuda:77"], "not on this machine"),
        (["MODEL.DEVICE", "toaster"], "no device"),
        (["SOLVER.OPTIMIZER_NAME", "Adma"], "did you mean Adam"),
        (["SOLVER.OPTIMIZER_ARGS", "{nestrov: true}"], "did you mean nesterov"),
        (["SOLVER.PARAM_GROUPS", "[[no.such.*, 1, 0]]"], "no trainable parameter"),
        (["SOLVER.WARMUP_ITERS", "1000"], "not shorter than the run"),
        (["INPUT.TRANSFORMS_TRAIN", "[PadCorp]"], "did you mean PadCrop"),
        (["INPUT.TRANSFORMS_TRAIN", "[{PadCrop: {pad: 3}}]"], "takes no 'pad'"),
        (["LOSS.CLASS_WEIGHTS", "[1, 2]"], "needs 4 weights"),
        (["SOLVER.ACCUMULATE", "100"], "cannot be split"),
        (["SOLVER.PRECISION", "fp16"], "needs a CUDA device"),
        (["TEST.PRIMARY_METRIC", "top2"], "gives top1"),
        (["NAME", "../x"], "a run's name"),
        (["--parent", "nobody"], "no run 'nobody'"),
        (["--resume", "nobody"], "no run 'nobody'"),
        (["--nmae", "x"], "did you mean --name"),
        (["SOLVER.BASE_LR"], "needs a value"),
        (["HOOKS", "[nosuch]"], "unknown hook"),
        (["MODEL.WEIGHTS", "nosuch.pt"], "no run"),
        (["MODEL.NAME", "LeNet"], "did you mean lenet"),
        (["solver.base_lr=1"], "unrecognized arguments: solver.base_lr=1;"),
        (["DATASETS.TRAIN", "[]"], "DATASETS.TRAIN names no data"),
        (["DATASETS.TRAIN", "digits:3"], "takes nothing behind a colon"),
        (["SOLVER.OPTIMIZER_NAME", "Optimizer"], "has no 'Optimizer' ("),
        (["SOLVER.OPTIMIZER_NAME", "Adam", "SOLVER.OPTIMIZER_ARGS", "{betas: [0.9]}"], "Adam refuses them"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], said: str, train: Train, tmp_path: Path) -> None:
    code, error, out = train(*TINY, *words)
    lines = [line for line in error.splitlines() if line.startswith("error:")]
    assert code == 2 and len(lines) == 1 and said in lines[0], error
    assert "Traceback" not in error and not out
    assert not (tmp_path / "exp").exists() or not list((tmp_path / "exp").iterdir())


def test_an_empty_data_set_is_said(train: Train, tmp_path: Path) -> None:
    (tmp_path / "pictures" / "cats").mkdir(parents=True)
    code, error, _ = train(*TINY, "DATASETS.TRAIN", f"image_folder:{tmp_path / 'pictures'}")
    assert code == 2 and "no images below" in error


def test_the_first_image_that_is_missing_is_named(train: Train, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,target\n" + "".join(f"{n}.png,{n % 2}\n" for n in range(20)))
    code, error, _ = train(*TINY, "DATASETS.TRAIN", f"csv:{tmp_path / 't.csv'}")
    assert code == 2 and "can be read: " in error and ".png: no such file" in error, error


def test_a_rate_that_is_no_number_is_one_line(train: Train, tmp_path: Path) -> None:
    (tmp_path / "r.yml").write_text("SOLVER:\n  BASE_LR: .nan\n")
    code, error, _ = train("--config-file", str(tmp_path / "r.yml"))
    assert code == 2 and len(error.splitlines()) == 1 and "r.yml:2: SOLVER.BASE_LR expects" in error, error


def test_a_folder_that_cannot_be_written_is_said(train: Train, tmp_path: Path) -> None:
    (tmp_path / "exp").write_text("a file where the folder of runs should be")
    code, error, _ = train(*TINY)
    assert code == 2 and "cannot be written" in error and "Traceback" not in error


def test_a_full_disk_at_the_start_leaves_nothing(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os
    import shutil

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr(os, "copy_file_range", full)
    code, error, _ = train(*TINY)
    assert code == 2 and "No space left on device" in error and not list((tmp_path / "exp").iterdir())


def test_print_config_and_explain_write_nothing(train: Train, tmp_path: Path) -> None:
    code, _, out = train(*TINY, "--print-config")
    assert code == 0 and "TRAIN: [synthetic:96x1x8x8x4]" in out.replace("'", "").replace('"', "")
    code, _, out = train(*TINY, "--explain", "SOLVER.MAX_EPOCHS")
    assert code == 0 and "command line" in out and "3" in out
    code, _, out = train(*TINY, "--dry-run")
    assert code == 0 and "nothing was written" in out and not (tmp_path / "exp").exists()


def test_a_loss_that_is_not_finite_fails_the_run_in_one_line(train: Train, tmp_path: Path) -> None:
    from conftest import newest, read_json

    code, error, _ = train(*TINY, "SOLVER.BASE_LR", "1e6", "SOLVER.MAX_EPOCHS", "50")
    assert code == 1 and "not finite" in error and "SOLVER.BASE_LR" in error
    status = read_json(newest(tmp_path / "exp") / "status.json")
    assert status["status"] == "failed" and "not finite" in status["reason"]
