"""Shards that are missing, torn or damaged are named, before a run exists or when they are read; or left out and counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_shards import SAMPLES, jpeg_of, make_folder, opened, pack, settings, write_tar

from data.build import build_splits, make_data_loader
from data.images import BadSample
from utils.errors import RunFailed, UserError


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """Six shards of ten of one's own."""
    assert pack(str(make_folder(tmp_path)), "-o", str(tmp_path / "out"), "--samples", "10") == 0
    return tmp_path / "out"


def damage(kind: str, six: Path) -> str:
    """Damages the fourth shard; what is said of it."""
    shard = six / "train-000003.tar"
    content = shard.read_bytes()
    if kind == "missing":
        shard.unlink()
        return "train-000003.tar: no such shard"
    if kind == "torn":
        shard.write_bytes(content[:7000])
        return "train-000003.tar: 7.0 kB where"
    middle = len(content) // 2 - len(content) // 2 % 512 + 700  # within an image
    shard.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    return "damaged, its bytes are not those that were packed"


@pytest.mark.parametrize("kind", ["missing", "torn"])
@pytest.mark.parametrize("pattern", ["*", "{000000..000005}"])
def test_a_shard_that_is_not_whole_is_said_before_a_run_exists(
    six: Path, tmp_path: Path, train: Callable[..., Any], kind: str, pattern: str
) -> None:
    said = damage(kind, six)
    words = [
        "DATASETS.TRAIN",
        f"shards:{six}/train-{pattern}.tar",
        "DATASETS.ROOT",
        str(tmp_path / "root"),
        "MODEL.NAME",
        "mlp",
    ]
    code, err, out = train(*words)
    assert (code, out) == (2, "") and err.count("\n") == 1 and said in err and "DATALOADER.BAD_SAMPLES skip" in err
    assert not list((tmp_path / "exp").glob("*"))


@pytest.mark.parametrize(("kind", "left"), [("missing", 50), ("torn", 53)])
def test_its_samples_are_left_out_where_bad_ones_are(
    six: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = damage(kind, six)
    monkeypatch.setattr(logging.getLogger("fieldbook"), "propagate", True)
    keys = {"DATALOADER__BAD_SAMPLES": "skip", "DATALOADER__MAX_BAD": 0.2}
    cfg = settings(f"shards:{six}/train-*.tar", tmp_path / "root", **keys)
    train = build_splits(cfg).train
    assert len(train) == left and len(list(make_data_loader(cfg, "train", build_splits(cfg)))) == -(-left // 8)
    assert said in caplog.text and f"({SAMPLES - left} samples" in caplog.text
    with pytest.raises(UserError, match=f"{SAMPLES - left} of {SAMPLES} samples are lost, more than DATALOADER.MAX_BAD"):
        build_splits(settings(f"shards:{six}/train-*.tar", tmp_path / "root", DATALOADER__BAD_SAMPLES="skip"))


def test_damaged_bytes_are_never_trained_on(six: Path, tmp_path: Path) -> None:
    said = damage("damaged", six)
    cfg = settings(f"shards:{six}/train-*.tar", tmp_path / "root")
    with pytest.raises(RunFailed, match=rf"train-000003.tar:c\d/0\d\d.jpg: {said}"):
        list(make_data_loader(cfg, "train", build_splits(cfg)))
    keys = {"DATALOADER__BAD_SAMPLES": "skip", "DATALOADER__MAX_BAD": 0.2}
    cfg = settings(f"shards:{six}/train-*.tar", tmp_path / "root", **keys)
    loader = make_data_loader(cfg, "train", build_splits(cfg))
    assert sum(len(batch["index"]) for batch in loader) == SAMPLES - 1 and len(loader.bad) == 1


def test_a_shard_that_goes_while_it_is_trained_on_is_a_bad_sample(six: Path, tmp_path: Path) -> None:
    dataset = opened(f"{six}/train-*.tar", tmp_path / "root")
    (six / "train-000000.tar").unlink()
    with pytest.raises(BadSample, match=r"train-000000.tar:c\d/0\d\d.jpg: the shard cannot be read \(No such file"):
        dataset[0]
    assert dataset[10]["image"].shape == (3, 12, 16)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("shards", "write shards:PATTERN"),
        ("nothing-*.tar", "no shard matches"),
        ("{000000..000002}.tar", "no such shard"),
        ("train-{000003..000001}.tar", "neither a rising range"),
        ("train-{000003..x}.tar", "neither a rising range"),
        ("train-{000003.tar", "braces do not close"),
        ("{train,gone}-00000?.tar", "no shard matches"),
        ("train-{000001,000001}.tar", "is named twice"),
        ("", "a folder"),
        ("nowhere://a/*.tar", "Protocol not known"),
        ("train-000000.tar.index", "no uncompressed tar"),
    ],
)
def test_a_bad_pattern_is_one_line(six: Path, tmp_path: Path, train: Callable[..., Any], pattern: str, said: str) -> None:
    place = f"shards:{pattern if '://' in pattern else f'{six}/{pattern}'.rstrip('/')}" if pattern != "shards" else pattern
    code, err, out = train("DATASETS.TRAIN", place, "DATASETS.ROOT", str(tmp_path / "root"), "MODEL.NAME", "mlp")
    assert (code, out) == (2, "") and err.count("\n") == 1 and said in err, err
    assert not list((tmp_path / "exp").glob("*"))


def test_a_damaged_index_is_named(six: Path, tmp_path: Path) -> None:
    index = six / "train-000002.tar.index"
    index.write_bytes(index.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"train-000002.tar.index: a damaged index \(.*; pack the shard again"):
        opened(f"{six}/train-*.tar", tmp_path)


def test_a_foreign_shard_that_is_torn_is_named_and_else_read_up_to_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fieldbook"), "propagate", True)
    members = [(f"{number}.{suffix}", content) for number in range(4) for suffix, content in
               (("cls", b"%d" % (number % 2)), ("jpg", jpeg_of(number)))]  # fmt: skip
    whole = write_tar(tmp_path / "whole.tar", members).read_bytes()
    for cut, said in (
        (len(whole) // 2 - 100, "cut short"),
        (whole.rindex(b"3.cls"), "the mark of the archive's end is missing"),
    ):
        torn = tmp_path / f"{cut}.tar"
        torn.write_bytes(whole[:cut])
        with pytest.raises(UserError, match=f"{cut}.tar: .*{said}"):
            opened(str(torn), tmp_path / "root")
        few = opened(str(torn), tmp_path / "root", skip_bad=True, max_bad=0.5)
        assert "(0 samples of shards:" in caplog.text and "an unknown number in 1 without an index" in caplog.text
        assert 1 <= len(few) <= 3 and torch.is_tensor(few[len(few) - 1]["image"])
    mixed = write_tar(tmp_path / "mixed.tar", [("1.jpg", jpeg_of(1)), ("1.cls", b"1"), ("2.jpg", b""), ("2.json", b"[1]")])
    with pytest.raises(UserError, match="mixed.tar: labels of several kinds: class, labels"):
        opened(str(mixed), tmp_path / "root")


def test_samples_without_a_label_are_bad_ones(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("1.jpg", jpeg_of(1)), ("1.cls", b"0"), ("2.jpg", jpeg_of(2))])
    with pytest.raises(UserError, match=r"1 of 2 samples of shards:.* have no label: .*a.tar:2.jpg \(sample 1\)"):
        build_splits(settings(f"shards:{path}", tmp_path / "root"))
    keys = {"DATALOADER__BAD_SAMPLES": "skip", "DATALOADER__MAX_BAD": 0.5}
    assert len(build_splits(settings(f"shards:{path}", tmp_path / "root", **keys)).train) == 1


def test_a_part_of_what_was_packed_is_warned_of(six: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(logging.getLogger("fieldbook"), "propagate", True)
    for end in ("", ".index"):
        (six / f"train-000004.tar{end}").unlink()
    opened(f"{six}/train-*.tar", tmp_path / "root")
    assert "5 of the 6 shards that were packed together" in caplog.text


def test_a_cache_that_cannot_be_written_is_done_without(six: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert len(opened(f"{six}/train-*.tar", tmp_path / "file")) == SAMPLES
