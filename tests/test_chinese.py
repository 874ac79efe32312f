"""Names and words in Chinese: where they may stand, and what is said where they may not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from engine.figures import pictures
from engine.figures.classes import draw_confusion


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
