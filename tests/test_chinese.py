"""Names and words in Chinese: where they may stand, and what is said where they may not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import train_net

import config
from engine.figures import pictures
from engine.figures.classes import draw_confusion
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
