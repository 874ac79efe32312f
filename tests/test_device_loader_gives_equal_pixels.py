"""A data set that lies on the device gives what every other loader gives. Here the device is the CPU; see test_gpu.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, newest
from test_resume_equals_uninterrupted import assert_equal

from config import load_file
from data import build_prepare, build_splits, make_data_loader
from data.loaders.device import DeviceLoader, why_not_on_device
from data.loaders.loader import Loader

CPU = torch.device("cpu")
IMAGES = ("DATASETS.TRAIN", "synthetic:70x3x8x6x5")
BOTH = "[PadCrop, RandomHorizontalFlip]"


def pair(split: str = "train", rank: int = 0, world: int = 1, **keys: str) -> tuple[Loader, DeviceLoader]:
    """The loader that reads samples one by one, and that of the device, of one config."""
    words = [IMAGES, ("SOLVER.IMS_PER_BATCH", "16"), ("TEST.IMS_PER_BATCH", "5"), ("DATALOADER.LOADER", "processes")]
    cfg = load_file(None, [*words, *((key.replace("__", "."), value) for key, value in keys.items())])
    other = make_data_loader(cfg, split, build_splits(cfg), rank=rank, world_size=world)
    return other, DeviceLoader(other.plan, other.fetcher, "", CPU)


def assert_equal_batches(loaders: tuple[Loader, Loader], epoch: int = 0, first: int = 0) -> None:
    """Batch by batch and key by key, bit for bit."""
    given: list[list[dict[str, Any]]] = []
    for loader in loaders:
        loader.set_position(epoch, first)
        given.append(list(loader))
    assert len(given[0]) == len(given[1]) > 0
    for a, b in zip(*given, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            same = isinstance(value, torch.Tensor) and value.dtype == b[key].dtype and torch.equal(value, b[key].cpu())
            assert same or value == b[key], key


@pytest.mark.parametrize(
    "transforms",
    ["[]", BOTH, "[RandomHorizontalFlip, PadCrop]", "[{PadCrop: {padding: 2}}]", "[{RandomHorizontalFlip: {prob: 0.3}}]"],
    ids=["bare", "both", "flip_first", "crop", "flip"],
)
def test_pixels_are_those_of_single_samples(transforms: str) -> None:
    loaders = pair(INPUT__TRANSFORMS_TRAIN=transforms)
    for epoch, first in ((0, 0), (3, 2)):
        assert_equal_batches(loaders, epoch, first)


def test_ranks_parts_mixing_and_tests_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.loaders.device.BLOCK", 20)  # several blocks an epoch
    assert_equal_batches(pair(rank=1, world=2, SOLVER__ACCUMULATE="2", INPUT__TRANSFORMS_TRAIN=BOTH))
    assert_equal_batches(pair(INPUT__TRANSFORMS_TRAIN=BOTH, DATALOADER__REPEATS="2", DATALOADER__DROP_LAST="true"))
    assert_equal_batches(pair("test", rank=1, world=2))
    loaders = pair(INPUT__TRANSFORMS_TRAIN=BOTH)
    for loader in loaders:
        loader.says_position = True
    assert_equal_batches(loaders)


def test_what_cannot_lie_on_the_device_says_why() -> None:
    def why(transforms: str, free: int = 10**6) -> str:
        return why_not_on_device(pair(INPUT__TRANSFORMS_TRAIN=transforms)[0].fetcher, free)

    assert why("[]") == why(BOTH) == ""
    assert why("[PadCrop, {Cutout: {length: 2}}]") == "Cutout takes one sample after another"
    assert why("[PadCrop, PadCrop]") == "PadCrop takes one sample after another"
    assert why("[]", free=10**4) == "9.1 kB is more than 8% of the 10.0 kB that are free there"  # 63 of 3 x 8 x 6 bytes
    assert why(BOTH, free=10**4).startswith("42.3 kB is more")  # padded to 16 x 14


def choose(monkeypatch: pytest.MonkeyPatch, free: int = 10**6, **keys: str) -> Loader:
    """What is chosen for a CUDA device with so many free bytes."""
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, free))
    monkeypatch.setattr("data.loaders.build.SideStream", lambda device: f"beside {device}")
    cfg = load_file(None, [IMAGES, *((key.replace("__", "."), value) for key, value in keys.items())])
    return make_data_loader(cfg, "train", build_splits(cfg), device=torch.device("cuda", 1))


def test_the_card_says_where_the_data_lie_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = choose(monkeypatch, INPUT__TRANSFORMS_TRAIN=BOTH)
    assert loader.describe() == "device (the data set fits on cuda:1)" and loader.side is None
    loader = choose(monkeypatch, INPUT__TRANSFORMS_TRAIN="[{Cutout: {length: 2}}]")
    assert loader.describe() == "memory (the data set lies in memory; not on cuda:1: Cutout takes one sample after another)"
    assert loader.side == "beside cuda:1"
    loader = choose(monkeypatch, free=1000)
    assert "not on cuda:1: 9.1 kB is more than 8% of the 1.0 kB" in loader.describe()
    for kind in ("memory", "processes"):
        loader = choose(monkeypatch, DATALOADER__LOADER=kind)
        assert loader.describe().startswith(f"{kind} (") and "cuda" not in loader.describe() and loader.side == "beside cuda:1"


def test_training_on_it_equals_training_on_the_host(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*TINY, "INPUT.TRANSFORMS_TRAIN", BOTH, "SOLVER.MAX_EPOCHS", "2", "TEST.AT_END", "false", "TEST.FIGURES", "false"]
    states = []
    for _ in range(2):
        code, error, _ = train(*words)
        assert code == 0, error
        run = newest(tmp_path / "exp")
        states.append(torch.load(run / "weights" / "last.pt", weights_only=True))
        monkeypatch.setattr("data.build.choose_loader", lambda cfg, plan, fetcher, device: DeviceLoader(plan, fetcher, "", CPU))
    assert "loader device" in (run / "log.txt").read_text()
    for state in states:
        state.pop("meta")
    assert_equal(*states)


def test_nothing_is_read_back_from_a_gpu_and_all_of_a_batch_lies_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors that only say where they would lie: to read a number of one is an error, and so is to mix devices."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    for module in ("data.loaders.device", "data.mixing"):
        monkeypatch.setattr(f"{module}.sent", lambda tensor, device: tensor.to(device))  # there is no pinned memory here
    words = [IMAGES, ("INPUT.TRANSFORMS_TRAIN", BOTH), ("INPUT.CUTMIX_ALPHA", "1"), ("INPUT.MIXUP_ALPHA", "1")]
    cfg, gpu = load_file(None, words), torch.device("cuda", 0)
    splits = build_splits(cfg)
    prepare = build_prepare(cfg, splits, CPU, train=True)
    for split in ("train", "test"):
        host = make_data_loader(cfg, split, splits)
        loader = DeviceLoader(host.plan, host.fetcher, "", gpu)
        loader.says_position = host.says_position
        with FakeTensorMode(allow_non_fake_inputs=True):
            prepare.device, prepare._scale, prepare._shift = gpu, prepare._scale.to(gpu), prepare._shift.to(gpu)
            for batch in loader:
                prepared = prepare(batch)
                for value in [*batch.values(), *prepared.values()]:
                    assert value.device == gpu if isinstance(value, torch.Tensor) else value[0] == 0
                assert prepared["image"].shape == batch["image"].shape and prepared["image"].dtype == torch.float32
