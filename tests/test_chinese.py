"""Names and words in Chinese: where they may stand, and what is said where they may not."""

from __future__ import annotations

import logging
from pathlib import Path

import predict
import pytest
import torch
import train_net
from rich.cells import cell_len
from test_exp_records import make_run

import config
from engine.figures import pictures
from engine.figures.classes import draw_confusion
from engine.shipping.predictor import Prediction
from engine.shipping.screen import make_writer
from tracking.notes import check_tags, tags_in
from tracking.screens.ending import outcome
from utils.errors import UserError


def test_letters_without_a_font_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "_fonts", lambda: ["DejaVu Sans"])
    monkeypatch.setattr(pictures, "_BOXES_TOLD", [])
    with caplog.at_level(logging.WARNING, "fieldbook"):
        for name in ("one.png", "two.png"):
            draw_confusion(torch.eye(2), ["猫", "狗"], "cats", tmp_path / name)
    assert len(caplog.records) == 1
    assert "one.png" in caplog.text and "猫" in caplog.text and "fonts-noto-cjk" in caplog.text


def test_a_title_wider_than_its_picture_is_not_cut(tmp_path: Path) -> None:
    from matplotlib.image import imread

    image = imread(draw_confusion(torch.eye(2), ["a", "b"], "a rather long name of data " * 4, tmp_path / "one.png"))
    title = image[10:60, :, :3].min(axis=(0, 2)) < 0.5
    assert not title[-5:].any() and title[-30:].any()


def test_a_config_whose_file_name_names_no_run_can_be_looked_at(tmp_path: Path) -> None:
    recipe = tmp_path / "猫狗.yml"
    recipe.write_text("SEED: 1\n")
    assert config.load_file(recipe).NAME == "猫狗"
    args = config.parse_arguments(["--config-file", str(recipe)])
    with pytest.raises(UserError, match="English letters.*--name"):
        train_net.run_name(config.load(args), dry=False)
    assert train_net.run_name(config.load(args), dry=True) == "猫狗"


def test_scores_on_other_data_are_not_compared(tmp_path: Path) -> None:
    digits = {split: {"name": "digits", "digest": split} for split in ("train", "test")}
    other = {split: {"name": "image_folder:猫狗", "digest": f"{split}2"} for split in ("train", "test")}
    parent = make_run(tmp_path, scores={"test/top1": 0.75}, data=digits)
    facts = {"parent": parent.name, "expect": "test/top1 ＞ parent", "scores": {"test/top1": 0.875}}
    said = outcome(make_run(tmp_path, "mine", 1, data=other, config={"SOLVER.BASE_LR": 2}, **facts))
    assert "0.7500, on other data (digits), not comparable" in said and "so +" not in said
    assert "proposed: cannot tell: test/top1 of" in said
    tested_alike = {"train": other["train"], "test": digits["test"]}
    said = outcome(make_run(tmp_path, "more", 2, data=tested_alike, config={"SOLVER.BASE_LR": 1}, **facts))
    assert "so +0.125" in said and "proposed: held" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("MODEL: {NAME： my_model}", r"x.yml:1: .*'：' \(U\+FF1A\) is no ASCII, write ':'"),
        ("MODEL： {NAME: my_model}", r"x.yml:1: .*write ':'"),
        ("SEED: 1\nMODEL：\n  NAME: my_model", r"x.yml:3: .*write ':'"),
        ("MODEL: {NAME: a， DROP_PATH: 0}", r"x.yml:1: .*write ','"),
        ("MODEL: {ARGS: {width： 8}}", r"x.yml:1: .*write ':'"),
        ("SEED：1", r"x.yml:1: .*write ':'"),
        ("SEED: １e", r"x.yml:1: SEED expects .*write '1'"),
    ],
)
def test_a_full_width_character_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_text(text)
    with pytest.raises(UserError, match=said):
        config.load_file(tmp_path / "x.yml")


def test_full_width_on_the_command_line_is_named() -> None:
    for words in (["SEED：1"], ["SOLVER.STEPS", "[1，2]"], ["SOLVER.BASE_LR", "０.1x"]):
        with pytest.raises(UserError, match="is no ASCII, write"):
            config.load(config.parse_arguments(words))


def test_a_config_in_gbk_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_bytes("# 猫狗\nSEED: 1\n".encode("gbk"))
    with pytest.raises(UserError, match="save it as UTF-8"):
        config.load_file(tmp_path / "x.yml")


def test_chinese_commas_part_tags() -> None:
    assert tags_in("基线、x，y,z") == ["基线", "x", "y", "z"]
    for tag in ("a，b", "a、b"):
        with pytest.raises(UserError, match="without commas"):
            check_tags([tag])


def test_the_table_of_predictions_is_aligned_on_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    classes = ["一只很长很长很长很长很长的猫的名字", "dog"]
    writer = make_writer("table", "class", classes, 2, 100)
    for path in ("图片/猫.png", "b.png"):
        writer.write(Prediction(path, classes[0], 0.75, ((classes[0], 0.75), (classes[1], 0.25))))
    head, _, *lines = capsys.readouterr().out.splitlines()
    bars = {cell_len(line[: line.index("\u2588")]) for line in lines}
    assert bars == {head.index("confidence")} and max(map(cell_len, lines)) <= 100


def test_a_csv_that_is_to_be_written_is_no_image() -> None:
    args = config.parse_arguments(["last", "--csv", "预测.csv"], tool="predict")
    with pytest.raises(UserError, match="--csv > "):
        predict.check(args)
