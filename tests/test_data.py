"""Batches depend on seed, epoch and position only; splits on SPLIT_SEED only; bad images are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from config import load_file
from data import build_prepare, build_splits, make_data_loader
from data.images import BadSample, read_image
from utils.errors import RunFailed, UserError

AUGMENT = (
    "INPUT.TRANSFORMS_TRAIN",
    "[PadCrop, RandomHorizontalFlip, RandomErasing, {torchvision/ColorJitter: {brightness: 0.4}}]",
)


def batches(epoch: int = 0, first: int = 0, rank: int = 0, world: int = 1, **keys: str) -> list[dict[str, Any]]:
    """What the training loader gives of synthetic images."""
    words = [("DATASETS.TRAIN", "synthetic:70x3x8x8x5"), ("SOLVER.IMS_PER_BATCH", "16"), AUGMENT]
    cfg = load_file(None, words + [(key.replace("__", "."), value) for key, value in keys.items()])
    loader = make_data_loader(cfg, "train", build_splits(cfg), rank=rank, world_size=world)
    loader.set_position(epoch, first)
    return list(loader)


def assert_same(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> None:
    """Equal batches, pixel by pixel."""
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert all(torch.equal(x[key], y[key]) for key in ("image", "target", "index"))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_loaders_give_equal_pixels(workers: str) -> None:
    assert_same(batches(), batches(DATALOADER__LOADER="processes", DATALOADER__NUM_WORKERS=workers))


def test_any_position_is_reached_without_reading_what_lies_before() -> None:
    assert_same(batches(epoch=2)[3:], batches(epoch=2, first=3))
    assert not torch.equal(batches(epoch=0)[0]["index"], batches(epoch=1)[0]["index"])


def test_loaders_leave_the_global_generators_alone() -> None:
    before = torch.get_rng_state(), numpy.random.get_state()[1].copy()  # type: ignore[index]
    batches(DATALOADER__LOADER="processes", DATALOADER__NUM_WORKERS="1")
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == numpy.random.get_state()[1]).all()  # type: ignore[index]


def test_ranks_and_accumulation_split_the_same_samples() -> None:
    whole = batches()
    ranks = [batches(rank=rank, world=2) for rank in (0, 1)]
    parts = batches(SOLVER__ACCUMULATE="2")
    for step, batch in enumerate(whole):
        joined = torch.cat([ranks[0][step]["image"], ranks[1][step]["image"]])
        assert torch.equal(joined, batch["image"])
        assert torch.equal(torch.cat([parts[2 * step]["image"], parts[2 * step + 1]["image"]]), batch["image"])


def test_evaluation_counts_each_sample_once_on_any_number_of_ranks() -> None:
    cfg = load_file(None, [("DATASETS.TRAIN", "synthetic:71x1x4x4x3"), ("TEST.IMS_PER_BATCH", "8")])
    splits = build_splits(cfg)
    for world in (1, 2, 3):
        seen = [b["index"] for r in range(world) for b in make_data_loader(cfg, "test", splits, rank=r, world_size=world)]
        assert sorted(torch.cat(seen).tolist()) == list(range(71))


def test_splits_depend_on_the_split_seed_alone() -> None:
    def held_out(**keys: str) -> list[int]:
        words = [("DATASETS.TRAIN", "digits"), *((key.replace("__", "."), value) for key, value in keys.items())]
        val = build_splits(load_file(None, words)).val
        return val.indices  # type: ignore[union-attr]

    assert held_out() == held_out(SEED="7") != held_out(DATASETS__SPLIT_SEED="1")


def test_held_out_parts_keep_the_shares_of_classes() -> None:
    splits = build_splits(load_file(None, [("DATASETS.TRAIN", "digits")]))
    assert splits.val is not None and splits.test is not None
    for part in (splits.val, splits.test):
        counts = numpy.bincount(part.targets)
        assert counts.max() - counts.min() <= 0.1 * len(part)
    assert len(splits.train) + len(splits.val) + len(splits.test) == 1797


def test_normalised_digits_have_mean_0_and_std_1() -> None:
    cfg = load_file(None, [("DATASETS.TRAIN", "digits"), ("SOLVER.IMS_PER_BATCH", "1294")])
    splits = build_splits(cfg)
    image = build_prepare(cfg, splits, torch.device("cpu"))(next(iter(make_data_loader(cfg, "train", splits))))["image"]
    assert image.dtype == torch.float32 and abs(image.mean()) < 0.02 and abs(image.std() - 1) < 0.02


def test_images_of_all_modes_are_read_rightly(tmp_path: Path) -> None:
    colour = numpy.zeros((4, 5, 3), dtype=numpy.uint8)
    colour[..., 0] = 200
    picture = Image.fromarray(colour)
    picture.save(tmp_path / "rgb.png")
    picture.quantize(4).save(tmp_path / "palette.png")
    picture.convert("L").save(tmp_path / "grey.png")
    Image.fromarray(numpy.full((4, 5), 200 * 257, dtype=numpy.uint16)).save(tmp_path / "deep.png")
    clear = picture.convert("RGBA")
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    for name in ("rgb", "palette"):
        assert read_image(tmp_path / f"{name}.png", 3)[:, 0, 0].tolist() == [200, 0, 0], name
    assert read_image(tmp_path / "grey.png", 3).shape == (3, 4, 5)
    assert read_image(tmp_path / "deep.png", 1).unique().tolist() == [200]
    assert read_image(tmp_path / "clear.png", 3).unique().tolist() == [255]


def bad_folder(tmp_path: Path) -> Path:
    """Two classes of ten pictures, three of them bad."""
    for label in ("a", "b"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for n in range(10):
            Image.new("RGB", (8, 8), (n, 0, 0)).save(tmp_path / "set" / label / f"{n}.png")
    (tmp_path / "set" / "a" / "0.png").write_bytes(b"")
    (tmp_path / "set" / "a" / "1.png").write_text("<html>not found</html>")
    whole = (tmp_path / "set" / "b" / "2.png").read_bytes()
    (tmp_path / "set" / "b" / "2.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "set"


@pytest.mark.parametrize("name", ["a/0.png", "a/1.png", "b/2.png", "nowhere.png"])
def test_bad_images_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=name):
        read_image(bad_folder(tmp_path) / name, 3)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_bad_samples_end_the_run_or_are_left_out_and_counted(workers: str, tmp_path: Path) -> None:
    words = [("DATASETS.TRAIN", f"image_folder:{bad_folder(tmp_path)}"), ("DATALOADER.NUM_WORKERS", workers)]
    cfg = load_file(None, words)
    with pytest.raises(RunFailed, match="png.*sample"):
        for split in ("train", "val", "test"):
            list(make_data_loader(cfg, split, build_splits(cfg)))
    cfg = load_file(None, [*words, ("DATALOADER.BAD_SAMPLES", "skip"), ("DATALOADER.MAX_BAD", "0.5")])
    loaders = [make_data_loader(cfg, split, build_splits(cfg)) for split in ("train", "val", "test")]
    count = sum(len(batch["index"]) for loader in loaders for batch in loader)
    assert count == 17 and sum(len(loader.bad) for loader in loaders) == 3


def test_offline_without_data_the_error_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets.mnist as module

    def offline(*_: object, **__: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(module, "download_and_extract_archive", offline)
    with pytest.raises(UserError, match=r"DATASETS.ROOT") as error:
        build_splits(load_file(None, [("DATASETS.TRAIN", "mnist"), ("DATASETS.ROOT", str(tmp_path))]))
    assert "MNIST/raw" in str(error.value)


def test_real_mnist_is_read(shared: Path, tmp_path: Path) -> None:
    import subprocess

    subprocess.run([str(shared / "unpack"), str(tmp_path), "mnist"], check=True)
    splits = build_splits(load_file(None, [("DATASETS.TRAIN", "mnist"), ("DATASETS.ROOT", str(tmp_path))]))
    assert splits.val is not None and splits.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (54_000, 6_000, 10_000)


def test_svhn_is_read_as_torchvision_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision
    from scipy.io import savemat

    pixels = numpy.random.default_rng(0).integers(0, 256, (32, 32, 3, 40), dtype=numpy.uint8)
    digits = numpy.arange(1, 41)[:, None] % 10 + 1  # SVHN's 10 is the digit 0
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": digits.astype(numpy.uint8)})
    words = [("DATASETS.TRAIN", "svhn"), ("DATASETS.ROOT", str(tmp_path))]

    def offline(*_: object, **__: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(torchvision.datasets.SVHN, "download", offline)
    with pytest.raises(UserError, match="train_32x32.mat and test_32x32.mat.*DATASETS.ROOT"):
        build_splits(load_file(None, words))
    monkeypatch.setattr(torchvision.datasets.SVHN, "download", lambda self: None)
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)
    splits = build_splits(load_file(None, words))
    assert splits.test is not None and splits.classes == [str(n) for n in range(10)]
    sample = splits.test[8]
    assert sample["target"] == 0 and torch.equal(sample["image"], torch.from_numpy(pixels[..., 8]).permute(2, 0, 1))
