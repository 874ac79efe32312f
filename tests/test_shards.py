"""Shards: ordinary WebDataset tars, every sample once, resumed without reading what lies before."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import newest, read_json
from PIL import Image

import config
from config import Config
from data.build import build_splits, make_data_loader
from data.datasets.shards import ShardImages, shards
from data.samplers import shuffle_pieces
from utils.errors import UserError

SAMPLES, CLASSES = 60, 3


def jpeg_of(number: int) -> bytes:
    """A picture of its own, 16 x 12."""
    stream = io.BytesIO()
    pixels = numpy.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def make_folder(place: Path, samples: int = SAMPLES) -> Path:
    """photos/train/c0/000.jpg, ..."""
    for number in range(samples):
        file = place / "photos" / "train" / f"c{number % CLASSES}" / f"{number:03}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg_of(number))
    return place / "photos"


def pack(*words: str) -> int:
    """tools/pack.py in this process."""
    import pack as tool

    return tool.main(list(words))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six shards of ten."""
    place = tmp_path_factory.mktemp("packed")
    assert pack(str(make_folder(place)), "-o", str(place / "out"), "--samples", "10") == 0
    return place / "out"


def opened(pattern: str, root: Path, **options: Any) -> ShardImages:
    """The data set of a pattern."""
    found = shards(pattern, str(root), True, 0, **options)
    assert isinstance(found, ShardImages)
    return found


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """A tar as others make it."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def settings(pattern: str, root: Path, **keys: Any) -> Config:
    """A config for these shards."""
    given = {
        "DATASETS.TRAIN": pattern, "DATASETS.TEST": pattern, "DATASETS.VAL_FRACTION": 0, "DATASETS.ROOT": root,
        "DATASETS.SHARD_WINDOW": 2, "SOLVER.IMS_PER_BATCH": 8, **{key.replace("__", "."): value for key, value in keys.items()},
    }  # fmt: skip
    return config.load_file(None, [(key, str(value)) for key, value in given.items()])


def test_webdataset_reads_what_is_packed(packed: Path) -> None:
    import webdataset

    theirs = webdataset.WebDataset(str(packed / "train-{000000..000005}.tar"), shardshuffle=False).to_tuple("jpg", "cls")
    content = {data: int(target) for data, target in theirs}
    assert content == {jpeg_of(number): number % CLASSES for number in range(SAMPLES)}


def test_shards_of_webdataset_are_read_without_an_index(tmp_path: Path) -> None:
    import webdataset

    place = tmp_path / "theirs"
    place.mkdir()
    with webdataset.ShardWriter(str(place / "a-%03d.tar"), maxcount=7, verbose=0) as writer:
        for number in range(20):
            writer.write({"__key__": f"{number:04}", "jpg": jpeg_of(number), "cls": number % 3})
    place.chmod(0o555)
    before = sorted(path.name for path in place.iterdir())
    dataset = opened(f"{place}/a-{{000..002}}.tar", tmp_path / "root")
    assert list(dataset.targets) == [number % 3 for number in range(20)] and dataset.classes == ["0", "1", "2"]
    assert all(torch.equal(dataset[number]["image"], pixels(number)) for number in range(20))
    assert before == sorted(path.name for path in place.iterdir())
    assert dataset.path(8).endswith("a-001.tar:0008.jpg")


def pixels(number: int) -> torch.Tensor:
    """What Pillow sees."""
    with Image.open(io.BytesIO(jpeg_of(number))) as image:
        return torch.from_numpy(numpy.array(image).transpose(2, 0, 1))


def test_a_shard_without_an_index_is_scanned_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data.shards import gather

    path = write_tar(tmp_path / "a.tar", [("1.jpg", jpeg_of(1)), ("1.cls", b"1")])
    first = opened(str(path), tmp_path / "root")

    def never(*_: Any) -> None:
        raise AssertionError("it was scanned before")

    monkeypatch.setattr(gather, "scan", never)
    assert opened(str(path), tmp_path / "root").digest() == first.digest()


@pytest.mark.parametrize(
    ("labels", "targets", "classes"),
    [
        ([("cls", b"2"), ("cls", b"0")], [2, 0], ["0", "1", "2"]),
        ([("cls", b"cat"), ("cls", b"ant")], [1, 0], ["ant", "cat"]),
        ([("json", b'{"label": "cat"}'), ("json", b'{"label": "ant", "width": 3}')], [1, 0], ["ant", "cat"]),
        ([("json", b'{"targets": ["a", "b"]}'), ("json", b'{"targets": []}')], [(0, 1), ()], ["a", "b"]),
        ([("json", b'{"targets": [7, 0]}'), ("json", b'{"targets": [1]}')], [(0, 7), (1,)], [str(n) for n in range(8)]),
        ([("json", b'{"target": 0.5}'), ("json", b'{"target": -2.0}')], [0.5, -2.0], []),
    ],
    ids=["numbers", "names", "json", "several", "several numbers", "values"],
)
def test_labels_of_each_kind(tmp_path: Path, labels: list[tuple[str, bytes]], targets: list[Any], classes: list[str]) -> None:
    for number, (suffix, content) in enumerate(labels):  # each in a shard of its own, with names that the other does not have
        write_tar(tmp_path / f"{number}.tar", [(f"x/{number}.{suffix}", content), (f"x/{number}.jpg", jpeg_of(number))])
    dataset = opened(f"{tmp_path}/?.tar", tmp_path / "root")
    assert list(dataset.targets) == targets == [dataset.targets[number] for number in range(2)]
    assert list(dataset.classes) == classes
    if isinstance(targets[0], tuple):
        assert dataset[0]["target"].nonzero().flatten().tolist() == list(targets[0])


def test_classes_txt_names_the_classes_of_others_shards(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("1.jpg", jpeg_of(1)), ("1.cls", b"1")])
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\n")
    dataset = opened(f"{tmp_path}/a.tar", tmp_path / "root")
    assert dataset.classes == ["ant", "bee", "cat"] and list(dataset.targets) == [1]
    (tmp_path / "classes.txt").write_text("ant\n")
    with pytest.raises(UserError, match="has a target 1, there are 1 classes"):
        opened(f"{tmp_path}/a.tar", tmp_path / "root")


def test_packed_images_equal_loose_ones(packed: Path, tmp_path: Path) -> None:
    folder = packed.parent / "photos"
    keys = {"INPUT__SIZE_TRAIN": [8, 8], "INPUT__TRANSFORMS_TRAIN": "[RandomResizedCrop, RandomHorizontalFlip]"}
    ours = settings(f"shards:{packed}/train-*.tar", tmp_path, DATALOADER__SAMPLER="sequential", **keys)
    loose = build_splits(settings(f"image_folder:{folder}", tmp_path)).train
    dataset = build_splits(ours).train
    assert isinstance(dataset, ShardImages)
    by_name = {str(Path(loose.path(number)).relative_to(folder / "train")): number for number in range(SAMPLES)}
    assert dataset.classes == loose.classes and len(by_name) == len(dataset) == SAMPLES
    for number in range(SAMPLES):
        other = loose[by_name[dataset.path(number).partition(":")[2]]]
        assert torch.equal(dataset[number]["image"], other["image"]) and dataset[number]["target"] == other["target"]
    first = next(iter(make_data_loader(ours, "train", build_splits(ours))))
    assert first["image"].shape == (8, 3, 8, 8)


def batches_of(cfg: Config, epoch: int, first: int = 0, rank: int = 0, world_size: int = 1) -> list[dict[str, Any]]:
    """One rank's batches of an epoch."""
    loader = make_data_loader(cfg, "train", build_splits(cfg), rank=rank, world_size=world_size)
    loader.set_position(epoch, first)
    return list(loader)


@pytest.mark.parametrize("loader", ["threads", "processes"])
def test_every_sample_once_over_ranks_and_workers(packed: Path, tmp_path: Path, loader: str) -> None:
    orders = []
    for epoch, world_size, workers in ((0, 1, 2), (1, 4, 2), (1, 2, 1), (0, 2, 1)):  # more than shards, and fewer
        keys = {"DATALOADER__LOADER": loader, "DATALOADER__NUM_WORKERS": workers, "SOLVER__IMS_PER_BATCH": 15}
        cfg = settings(f"shards:{packed}/train-*.tar", tmp_path, **keys)
        steps: list[list[int]] = [[] for _ in range(4)]
        for rank in range(world_size):
            for step, batch in enumerate(batches_of(cfg, epoch, 0, rank, world_size)):
                steps[step] += batch["index"].tolist()
        orders.append((epoch, steps))
        assert sorted(sum(steps, [])) == list(range(SAMPLES))
    assert orders[0] == orders[3] and orders[1] == orders[2]  # the same steps, whatever ranks and workers
    assert orders[0][1] != orders[1][1]


def test_resuming_reads_nothing_that_lies_before(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {"INPUT__TRANSFORMS_TRAIN": "[RandomHorizontalFlip]", "DATALOADER__LOADER": "threads"}
    cfg = settings(f"shards:{packed}/train-*.tar", tmp_path, **keys)
    whole = batches_of(cfg, 3)
    read: list[str] = []
    once = ShardImages._read

    def noting(self: ShardImages, index: int, *cut: Any) -> torch.Tensor:
        read.append(self.path(index))
        return once(self, index, *cut)

    loader = make_data_loader(cfg, "train", build_splits(cfg))
    monkeypatch.setattr(ShardImages, "_read", noting)
    loader.set_position(3, 5)
    rest = list(loader)
    assert len(read) == sum(len(batch["index"]) for batch in rest) == SAMPLES - 5 * 8
    for ours, theirs in zip(rest, whole[5:], strict=True):
        assert torch.equal(ours["image"], theirs["image"]) and torch.equal(ours["index"], theirs["index"])


def test_an_order_mixes_a_window_of_shards() -> None:
    pieces = numpy.repeat(numpy.arange(40), 50)
    order = shuffle_pieces(pieces, 8, 0, 0)
    assert sorted(order.tolist()) == list(range(2000))
    assert (order == shuffle_pieces(pieces, 8, 0, 0)).all() and (order != shuffle_pieces(pieces, 8, 0, 1)).any()
    within = [numpy.flatnonzero(pieces[order] == piece) for piece in range(40)]
    assert max(places[-1] - places[0] for places in within) <= 8 * 50 + 50  # a shard is read within one stretch
    assert min(len(set(pieces[order[first : first + 50]])) for first in range(0, 1951)) >= 3  # also at both ends
    for window in (0, 40, 99):  # all shards at once: any order
        assert max(places[-1] - places[0] for places in (
            numpy.flatnonzero(pieces[shuffle_pieces(pieces, window, 0, 0)] == piece) for piece in range(40)
        )) > 1800  # fmt: skip


def test_held_out_parts_are_rows_of_the_same_shards(packed: Path, tmp_path: Path) -> None:
    cfg = settings(f"shards:{packed}/train-*.tar", tmp_path, DATASETS__TEST="()", DATASETS__VAL_FRACTION=0.25)
    splits = build_splits(cfg)
    assert splits.val is not None and splits.test is not None
    parts = [splits.train, splits.val, splits.test]
    assert [len(part) for part in parts] == [36, 12, 12]
    assert len({part.path(number) for part in parts for number in range(len(part))}) == SAMPLES
    assert len({part.digest() for part in parts}) == 3
    assert sorted(splits.val.targets) == [0] * 4 + [1] * 4 + [2] * 4
    assert sorted(sum((batch["index"].tolist() for batch in batches_of(cfg, 0)), [])) == list(range(36))


def test_a_list_of_patterns_is_joined_and_ordered_by_shard(packed: Path, tmp_path: Path) -> None:
    names = f"['shards:{packed}/train-00000[0-2].tar', 'shards:{packed}/train-{{000003..000005}}.tar']"
    whole = build_splits(settings(f"shards:{packed}/train-*.tar", tmp_path)).train
    joined = build_splits(settings(names, tmp_path)).train
    assert joined.pieces is not None and whole.pieces is not None and (joined.pieces == whole.pieces).all()
    assert list(joined.targets) == list(whole.targets)
    assert [joined.path(number) for number in (0, 29, 30, 59)] == [whole.path(number) for number in (0, 29, 30, 59)]
    assert torch.equal(joined[31]["image"], whole[31]["image"]) and joined[31]["index"] == 31


@pytest.mark.slow
def test_a_run_on_shards_resumes_to_the_same_weights(packed: Path, tmp_path: Path, train: Callable[..., Any]) -> None:
    words = [
        "DATASETS.TRAIN", f"shards:{packed}/train-*.tar", "DATASETS.ROOT", str(tmp_path / "root"), "MODEL.DEVICE", "cpu",
        "MODEL.NAME", "mlp", "INPUT.SIZE_TRAIN", "[12, 16]", "SOLVER.IMS_PER_BATCH", "16", "DATASETS.SHARD_WINDOW", "2",
        "SOLVER.CHECKPOINT_PERIOD", "1",
    ]  # fmt: skip
    weights = []
    for steps in (0, 4):
        code, err, _ = train(*words, "--name", f"run{steps}", "--epochs", "2", "SOLVER.MAX_STEPS", str(steps or 6))
        assert code == 0, err
        run = newest(tmp_path / "exp")
        if steps:
            code, err, _ = train("--resume", run.name, "SOLVER.MAX_STEPS", "6", "--epochs", "3")
        weights.append(torch.load(run / "weights" / "last.pt", weights_only=True)["model"])
        assert code == 0, err
    facts = read_json(run / "run.json")["data"]["train"]
    assert facts["samples"] == 43 and len(facts["digest"]) == 16
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert f"{packed}/train-" in (run / "predictions.csv").read_text()


def test_tables_grow_on_disk_and_not_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    from data.shards.gather import Gatherer
    from data.shards.index import make
    from data.shards.places import Place
    from data.shards.tar import Found

    held = []
    for samples in (10_000, 100_000):
        found = [Found(f"{number}.jpg", 512 * number, 100, number % 10) for number in range(samples)]
        path = tmp_path / f"{samples}.tar"
        make(found, (), (), {}).save(Path(f"{path}.index"))
        place = Place(str(path), 1, "")
        Gatherer(tmp_path / "root", None).table("shards:x", [place])
        del found
        tracemalloc.start()
        table = Gatherer(tmp_path / "root", None).table("shards:x", [place])
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        assert len(table) == samples and table.name(samples - 1) == f"{samples - 1}.jpg"
    assert held[1] < held[0] + 10_000, held  # of ten times the samples


def test_one_index_says_what_it_is(packed: Path) -> None:
    with numpy.load(packed / "train-000000.tar.index", allow_pickle=False) as arrays:
        about = json.loads(arrays["about"].tobytes())
        with open(packed / "train-000000.tar", "rb") as shard:
            shard.seek(int(arrays["offsets"][3]))
            assert jpeg_of(int(arrays["names"].tobytes().decode().split("\n")[3][-7:-4])) == shard.read(int(arrays["sizes"][3]))
    assert about["classes"] == ["c0", "c1", "c2"] and about["of"] == 6


def test_shards_of_a_class_each_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(logging.getLogger("fieldbook"), "propagate", True)
    for shard in range(4):
        for folder, target in (("apart", lambda _, shard=shard: shard), ("mixed", lambda number: number)):
            (tmp_path / folder).mkdir(exist_ok=True)
            members = [(f"{n}.{end}", content) for n in range(4) for end, content in
                       (("jpg", jpeg_of(n)), ("cls", b"%d" % target(n)))]  # fmt: skip
            write_tar(tmp_path / folder / f"{shard}.tar", members)
    said = "most shards lack most classes, and 2 of 4 are mixed at a time: set DATASETS.SHARD_WINDOW 0"
    for folder, window, warned in (("apart", 2, True), ("apart", 0, False), ("mixed", 2, False)):
        caplog.clear()
        opened(f"{tmp_path}/{folder}/*.tar", tmp_path / "root", window=window)
        assert (said in caplog.text) == warned, (folder, window)


def test_keys_of_shards_are_not_read_for_other_data() -> None:
    words = [("DATASETS.TRAIN", "synthetic:60x1x8x8x4"), ("DATASETS.SHARD_WINDOW", "3"), ("DATASETS.CACHE_GB", "1")]
    cfg = config.load_file(None, words)
    build_splits(cfg)
    assert {"DATASETS.SHARD_WINDOW", "DATASETS.CACHE_GB"} <= set(cfg.unread())


def test_tables_that_a_killed_process_began_are_deleted_and_those_under_way_are_not(packed: Path, tmp_path: Path) -> None:
    tables = tmp_path / ".cache" / "shards" / "tables"
    for name in (".writing-0a.1", ".writing-0b.2"):
        (tables / name).mkdir(parents=True)
    with open(tables / "0b.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of a process that is making it
        opened(f"{packed}/train-*.tar", tmp_path)
    assert [path.name for path in tables.glob(".writing-*")] == [".writing-0b.2"]
