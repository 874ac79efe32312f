"""Threads give what the other loaders give, to the last bit; they resume, name bad samples, and end with the iteration."""

from __future__ import annotations

import gc
import io
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import newest, read_json
from PIL import Image
from test_bad_data import KEYS, table
from test_resume_equals_uninterrupted import Stop, assert_equal, final

from config import load_file
from data import images, jpeg
from data.buffers import Buffers
from data.build import build_splits, make_data_loader
from data.images import BadSample, Region, read_image
from data.loaders.loader import Loader
from data.prepare import Prepare
from data.transforms.geometry import RandomResizedCrop, Resize
from engine.shipping.stream import read_ahead
from utils import interrupts
from utils.errors import RunFailed, UserError

Train = Callable[..., tuple[int, str, str]]
CROP = "[{RandomResizedCrop: {size: 16, scale: [0.2, 1.0]}}, RandomHorizontalFlip]"


def photo(seed: int, height: int = 60, width: int = 90, mode: str = "RGB", **options: Any) -> bytes:
    """A JPEG of smooth colours and some noise."""
    rng = numpy.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=numpy.uint8)).resize((width, height))
    noisy = numpy.asarray(coarse).astype(int) + rng.integers(-9, 10, (height, width, 3))
    stream = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(numpy.uint8)).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def settled(region: Region, height: int, width: int) -> Region:
    """A choice of region that is made already."""
    return region


def settled_whole(height: int, width: int) -> Region:
    """All of it."""
    return Region(0, 0, height, width, (height, width))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 11 photographs each, some grey."""
    for n in range(22):
        file = tmp_path / "photos" / "ab"[n % 2] / f"{n}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photo(n, 40 + 9 * n, 60 + 5 * n, "L" if n % 5 == 0 else "RGB"))
    return tmp_path / "photos"


def loader_of(folder: Path, loader: str, workers: int = 0, *words: tuple[str, str]) -> Loader:
    """The training loader."""
    cfg = load_file(None, [
        ("DATASETS.TRAIN", f"image_folder:{folder}"), ("DATALOADER.LOADER", loader), ("DATALOADER.NUM_WORKERS", str(workers)),
        ("INPUT.TRANSFORMS_TRAIN", CROP), ("SOLVER.IMS_PER_BATCH", "4"), ("DATASETS.VAL_FRACTION", "0"), *words,
    ])  # fmt: skip
    return make_data_loader(cfg, "train", build_splits(cfg))


def batches(loader: Loader, epoch: int = 1, first: int = 0) -> list[dict[str, Any]]:
    """All of an epoch from a batch on."""
    loader.set_position(epoch, first)
    return list(loader)


def assert_same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    """Bit by bit."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def crew() -> list[threading.Thread]:
    """The living threads of loaders."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("data ")]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_give_the_batches_of_the_other_loaders(folder: Path, threads: int) -> None:
    cores = torch.get_num_threads()
    plain = batches(loader_of(folder, "processes"))
    assert len(plain) == 5 and plain[0]["image"].dtype == torch.uint8
    ours = loader_of(folder, "threads", threads)
    assert ours.describe() == f"threads ({threads} thread{'s' * (threads > 1)}, asked for)"
    assert_same(plain, batches(ours))
    assert_same(plain[3:], batches(ours, 1, 3))
    assert torch.get_num_threads() == cores and not crew()
    if threads == 2:
        assert_same(plain, batches(loader_of(folder, "processes", 2)))


def test_the_decoder_does_not_change_a_pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg", reason="the extra `jpeg` is not installed")
    options: list[dict[str, Any]] = [
        {}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}, {"restart_marker_blocks": 5}
    ]  # fmt: skip
    contents = [photo(n, 301 + n, 402 - n, "L" if n == 7 else "RGB", **option) for n, option in enumerate(options * 2)]
    hurt = bytearray(contents[0])
    hurt[len(hurt) // 2 : len(hurt) // 2 + 9] = b"\x00\xff\x00\x12\x34\x56\x78\x9a\xbc"
    contents += [bytes(hurt), contents[0] + b"more", photo(1, 300, 400, "CMYK")]
    places = [(7, 294, 250), (0, 90, 80), (100, 100, 100), (30, 160, 70), (50, 130, 30), (3, 250, 30)]
    shorter = 0
    for n, content in enumerate(contents):
        (tmp_path / f"{n}.jpg").write_bytes(content)
        for top, tall, size in places:
            choose = partial(settled, Region(top, 9, tall, tall + 20, (size, size)))
            for channels in (3, 1):
                fast = read_image(tmp_path / f"{n}.jpg", channels, choose)
                with monkeypatch.context() as patch:
                    patch.setattr(jpeg, "size", lambda data, channels: None)
                    plain = read_image(tmp_path / f"{n}.jpg", channels, choose)
                assert torch.equal(fast, plain), (n, top, tall, size, channels)
            shorter += jpeg.shortened(content, top + tall) is not None
    assert shorter >= 4 * 9


def test_decoding_at_a_smaller_scale_is_close_to_resizing_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(photo(1, 640, 800))
    region = Region(64, 80, 480, 640, (120, 160))
    small = read_image(tmp_path / "a.jpg", 3, lambda height, width: region)
    assert small.shape == (3, 120, 160)
    monkeypatch.setattr(images, "_scale", lambda region: 1)
    whole = read_image(tmp_path / "a.jpg", 3, lambda height, width: region)
    resized = torch.nn.functional.interpolate(whole[None].float(), (120, 160), mode="bilinear", antialias=True)[0]
    assert whole.shape == (3, 480, 640) and (small.float() - resized).abs().mean() < 2.5


def inner(image: torch.Tensor) -> torch.Tensor:
    """A crop without its border, by way of NumPy, which hides where its memory begins."""
    return torch.from_numpy(image.numpy()[:, 1:-1, 1:-1])


def test_an_image_keeps_its_pixels_when_others_are_read(tmp_path: Path) -> None:
    for n in range(2):
        (tmp_path / f"{n}.jpg").write_bytes(photo(n, 64, 64))
    crop = RandomResizedCrop(64, scale=(1, 1), ratio=(1, 1))  # as large as the image: there is nothing to resize
    ways: list[Any] = [(), (settled_whole, crop.fit), (settled_whole, inner)]
    held = [read_image(tmp_path / "0.jpg", channels, *way) for channels in (1, 3) for way in ways]
    copies = [image.clone() for image in held]
    for channels in (1, 3):
        assert not torch.equal(read_image(tmp_path / "1.jpg", channels), held[0 if channels == 1 else len(ways)])
    assert all(torch.equal(image, copy) for image, copy in zip(held, copies, strict=True))


def test_resizing_does_not_depend_on_how_an_image_lies_in_memory() -> None:
    for channels in (1, 3):
        planes = torch.randint(0, 256, (channels, 50, 70), dtype=torch.uint8)
        pixels = planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        for size in (20, 90):
            usual = torch.nn.functional.interpolate(planes[None], (size, size), mode="bilinear", antialias=True)[0]
            for image in (planes, pixels, pixels.repeat(1, 2, 2)[:, :50, 70:]):
                assert torch.equal(Resize(size).fit(image), usual)


def verdict(path: Path, choose: Callable[[int, int], Region] | None = None) -> Any:
    """The pixels of an image, or what is wrong with it."""
    try:
        return read_image(path, 3, choose).tolist()
    except BadSample as error:
        return str(error)


def test_a_file_that_is_not_whole_is_bad_with_either_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = photo(1, 200, 200)
    contents = {"half": photo(1)[:900], "empty": b"", "text": b"<html>", "start": photo(1)[:30], "cut": whole[:-999]}
    for stray in (0xC0, 0xC4, 0xDB, 0xDD):  # a marker among the pixels below the region
        hurt = bytearray(whole)
        hurt[-999:-997] = bytes([0xFF, stray])
        contents[f"stray {stray:x}"] = bytes(hurt)
    scan = bytearray(whole)
    scan[scan.index(b"\xff\xda") + 6] = 0x77  # tables that there are not
    scan[scan.index(b"\xff\xda") + 11] = 1  # a warning before that error
    contents["scan"] = bytes(scan)
    upper = partial(settled, Region(0, 0, 60, 60, (60, 60)))
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        for choose in (None, upper):
            said = verdict(tmp_path / name, choose)
            with monkeypatch.context() as patch:
                patch.setattr(jpeg, "size", lambda data, channels: None)
                assert verdict(tmp_path / name, choose) == said
            assert isinstance(said, str) and name in said


def test_damage_below_the_region_is_seen_the_same_with_either_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng, whole = numpy.random.default_rng(0), photo(2, 200, 200, restart_marker_blocks=9)
    upper = partial(settled, Region(0, 0, 60, 60, (60, 60)))
    for _ in range(200):
        hurt = bytearray(whole)
        for place in rng.integers(len(whole) // 2, len(whole) - 3, 3):
            hurt[place : place + 2] = bytes([rng.choice([0xFF, 0x55]), rng.integers(256)])
        (tmp_path / "a.jpg").write_bytes(hurt)
        said = verdict(tmp_path / "a.jpg", upper)
        with monkeypatch.context() as patch:
            patch.setattr(jpeg, "size", lambda data, channels: None)
            assert verdict(tmp_path / "a.jpg", upper) == said


def test_an_abandoned_iteration_leaves_no_thread(folder: Path) -> None:
    loader = loader_of(folder, "threads", 3)
    for _ in loader:
        assert len(crew()) == 3
        break
    gc.collect()
    assert not crew()

    def interrupted() -> None:
        for _ in loader:
            raise interrupts.Interrupted(15)

    with pytest.raises(interrupts.Interrupted):
        interrupted()
    gc.collect()
    assert not crew()


def test_where_the_system_allows_too_few_threads_none_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start, cores = threading.Thread.start, torch.get_num_threads()

    def scarce(thread: threading.Thread) -> None:
        if thread.name == "data 2" or thread.name.startswith("image_2"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    with pytest.raises(UserError, match="no 4 threads more .can't start new thread.; set DATALOADER.NUM_WORKERS lower"):
        next(iter(loader_of(folder, "threads", 4)))
    with pytest.raises(UserError, match="no 3 threads more"):
        next(read_ahead([1], lambda number, item: item, size=1, threads=3))
    gc.collect()
    time.sleep(0.1)
    assert torch.get_num_threads() == cores and not crew() and not any("image" in t.name for t in threading.enumerate())


def test_no_more_is_read_than_a_few_batches_ahead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    loader = loader_of(folder, "threads", 2)
    plain = loader.fetcher.read

    def counted(epoch: int, index: int, position: int) -> Any:
        read.append(index)
        return plain(epoch, index, position)

    monkeypatch.setattr(loader.fetcher, "read", counted)
    iterator = iter(loader)
    next(iterator)
    for _ in range(3000):
        time.sleep(0.01)
        if len(read) == 16:
            break
    time.sleep(0.1)
    assert len(read) == 16  # the first batch, and AHEAD + 1 of 4 samples each
    iterator.close()  # type: ignore[attr-defined]
    assert not crew()


def test_a_hanging_file_is_named_in_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = loader_of(folder, "threads", 2, ("DATALOADER.TIMEOUT", "1"))
    monkeypatch.setattr("data.loaders.crew.PATIENCE", 0.1)
    free = threading.Event()
    monkeypatch.setattr(loader.fetcher, "read", lambda *place: free.wait(20))
    with pytest.raises(RunFailed, match=r"more than 1 s.*in hand: sample \d+ \(.*jpg\).*DATALOADER.TIMEOUT"):
        next(iter(loader))
    free.set()


def test_what_draws_from_the_global_generator_runs_in_no_thread(folder: Path) -> None:
    jitter = ("INPUT.TRANSFORMS_TRAIN", "[{RandomResizedCrop: {size: 16}}, ColorJitter]")
    with pytest.raises(UserError, match="ColorJitter draws from torch's global generator"):
        loader_of(folder, "threads", 0, jitter)
    assert loader_of(folder, "auto", 0, jitter).kind == "processes"
    assert loader_of(folder, "auto", 2).kind == "processes"
    assert loader_of(folder, "auto", 0).kind == ("threads" if jpeg.available() else "processes")


def test_a_bad_sample_ends_the_run_the_same_way(train: Train, tmp_path: Path) -> None:
    file = table(tmp_path / "set")
    file.write_text(file.read_text().replace("20.jpg,\n", "20.jpg,a\n"))
    reasons = []
    for loader in ("processes", "threads"):
        code, log, _ = train(*KEYS, "DATASETS.TRAIN", f"csv:{file}", "DATALOADER.LOADER", loader)
        assert code == 1 and "Traceback" not in log, log
        reasons.append(read_json(newest(tmp_path / "exp") / "status.json")["reason"])
    assert reasons[0] == reasons[1] and "(sample" in reasons[0]


def test_resuming_in_the_middle_of_an_epoch_is_exact_with_bad_samples(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = table(tmp_path / "set")
    words = [*KEYS, "DATASETS.TRAIN", f"csv:{file}", "DATALOADER.BAD_SAMPLES", "skip", "DATALOADER.MAX_BAD", "0.5"]
    code, log, _ = train(*words, "DATALOADER.LOADER", "processes")
    assert code == 0, log
    whole = newest(tmp_path / "exp")
    words += ["DATALOADER.LOADER", "threads", "DATALOADER.NUM_WORKERS", "3"]
    with monkeypatch.context() as patch:
        Stop(3)(patch)
        assert train(*words)[0] == 75
    assert not crew()
    stopped = newest(tmp_path / "exp")
    code, log, _ = train("--resume", stopped.name)
    assert code == 0, log
    assert_equal(final(whole), final(stopped))
    assert not crew() and len(final(stopped)["bad_samples"]["indices"]) >= 1


def test_normalising_is_exact_for_large_and_small_grey_and_no_images() -> None:
    for shape, repeat in [((5, 3, 200, 200), 1), ((7, 1, 28, 28), 3), ((0, 3, 32, 32), 1), ((2, 1, 200, 200), 3)]:
        raw = torch.randint(0, 256, shape, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
        prepare = Prepare([0.4], [0.3], torch.device("cpu"), repeat=repeat)
        with torch.inference_mode():  # an evaluation may come first
            prepare({"image": raw})
        image = prepare({"image": raw})["image"]
        exact = (raw.double().repeat(1, repeat, 1, 1) / 255 - 0.4) / 0.3
        assert torch.allclose(image.double(), exact, rtol=0, atol=5e-7) and image.is_contiguous()
        last = Prepare([0.4], [0.3], torch.device("cpu"), repeat=repeat, channels_last=True)({"image": raw})["image"]
        assert torch.equal(last, image) and last.is_contiguous(memory_format=torch.channels_last)
        (image * torch.ones((), requires_grad=True)).sum().backward()


@pytest.mark.parametrize("side", [3, 8, 200])
@pytest.mark.parametrize(("mean", "std"), [([0.4, 0.5, 0.6], [0.25]), ([0.5], [0.2, 0.3, 0.4]), ([0.4, 0.5, 0.6], ())])
def test_each_channel_is_normalised_by_its_own(mean: list[float], std: list[float], side: int) -> None:
    raw = torch.randint(0, 256, (4, 3, side, side), dtype=torch.uint8)
    shape = (1, -1, 1, 1)
    exact = (raw.double() / 255 - torch.tensor(mean).double().view(shape)) / torch.tensor(std or [1.0]).double().view(shape)
    for layout in (torch.contiguous_format, torch.channels_last):
        for channels_last in (False, True):
            prepare = Prepare(mean, std, torch.device("cpu"), channels_last=channels_last)
            image = prepare({"image": raw.contiguous(memory_format=layout)})["image"]
            assert torch.allclose(image.double(), exact, rtol=0, atol=1e-6)


def test_channels_last_is_laid_in_memory_that_is_used_again() -> None:
    raw = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    prepare = Prepare([0.4, 0.5, 0.6], [0.3], torch.device("cpu"), channels_last=True)
    held = prepare({"image": raw})["image"]
    plain = Prepare([0.4, 0.5, 0.6], [0.3], torch.device("cpu"))({"image": raw})["image"]
    places = set()
    for _ in range(6):
        image = prepare({"image": raw.flip(0)})["image"]
        places.add(image.data_ptr())
        assert image.stride() == plain.contiguous(memory_format=torch.channels_last).stride()
    assert len(places) == 2 and held.data_ptr() not in places and torch.equal(held, plain)
    assert all(place % 64 == 0 for place in places)


def test_memory_is_used_again_only_when_nobody_holds_it() -> None:
    buffers = Buffers(numpy.uint8, most=2)
    first = buffers.take((4, 5)).fill_(1)
    place, view = first.data_ptr(), first[1:].permute(1, 0)
    del first
    second = buffers.take((4, 5)).fill_(2)
    assert second.data_ptr() != place and bool((view == 1).all())
    third = buffers.take((4, 5)).fill_(3)
    assert bool((view == 1).all()) and bool((second == 2).all()) and bool((third == 3).all())
    place = third.data_ptr()
    del third
    assert buffers.take((2, 3)).data_ptr() == place
    assert buffers.take((40, 5)).shape == (40, 5) and bool((view == 1).all()) and bool((second == 2).all())
