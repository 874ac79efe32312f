"""Shards behind a URL: the same batches as from disk, copies within a limit and never torn, ranges where there is no cache."""

from __future__ import annotations

import functools
import http.server
import logging
import multiprocessing
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_shards import SAMPLES, batches_of, make_folder, opened, pack, settings

from data.build import build_splits
from data.images import BadSample
from data.shards import copies as copying
from data.shards.copies import Copies, CopyFailed
from data.shards.places import find
from utils.errors import UserError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six shards of ten."""
    place = tmp_path_factory.mktemp("afar")
    assert pack(str(make_folder(place)), "-o", str(place / "out"), "--samples", "10") == 0
    return place / "out"


class Server(http.server.SimpleHTTPRequestHandler):
    """Files and ranges of them; `asked` has the path and range of each GET."""

    asked: list[tuple[str, str]] = []
    ranges = True

    def do_GET(self) -> None:
        """A range, where one is asked for and they are known."""
        wanted = self.headers.get("Range", "")
        self.asked.append((self.path.rpartition("/")[2], wanted))
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        if match is None or not self.ranges:
            super().do_GET()
            return
        content = Path(self.translate_path(self.path)).read_bytes()[int(match[1]) : int(match[2]) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def served(packed: Path) -> Iterator[str]:
    """The shards' folder behind http://."""
    pytest.importorskip("aiohttp")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, directory=str(packed)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Server.asked, Server.ranges = [], True
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def memory(packed: Path) -> Iterator[str]:
    """The same in fsspec's memory."""
    system = fsspec.filesystem("memory")
    for path in packed.iterdir():
        system.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    yield "memory://bucket"
    system.store.clear()


@pytest.mark.parametrize("cache", [50, 0], ids=["cache", "no cache"])
@pytest.mark.parametrize("kind", ["memory", "file", "http"])
def test_batches_equal_those_from_disk(
    packed: Path, tmp_path: Path, kind: str, cache: float, request: pytest.FixtureRequest
) -> None:
    url = f"file://{packed}" if kind == "file" else request.getfixturevalue({"memory": "memory", "http": "served"}[kind])
    near = settings(f"shards:{packed}/train-*.tar", tmp_path / "near")
    afar = settings(f"shards:{url}/train-*.tar", tmp_path / "afar", DATASETS__CACHE_GB=cache)
    for ours, theirs in zip(batches_of(afar, 1), batches_of(near, 1), strict=True):
        assert torch.equal(ours["image"], theirs["image"]) and torch.equal(ours["target"], theirs["target"])
    assert build_splits(afar).train.digest() == build_splits(near).train.digest()
    folder = tmp_path / "afar" / ".cache" / "shards" / "copies"
    deadline = time.monotonic() + 120
    while cache and len(list(folder.glob("*.tar"))) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)  # copied behind the loader's back
    assert len(list(folder.glob("*.tar"))) == (6 if cache else 0)


def test_a_sample_is_one_range_and_a_copied_shard_is_not_asked_for_again(served: str, tmp_path: Path) -> None:
    dataset = opened(f"{served}/train-{{000000..000005}}.tar", tmp_path, cache_gb=0)
    assert [name for name, _ in Server.asked if name.endswith(".tar")] == []  # indices are all that is read at the start
    Server.asked.clear()
    sample = dataset[12]
    first = int(dataset.table.offsets[12])
    assert Server.asked == [("train-000001.tar", f"bytes={first}-{first + int(dataset.table.sizes[12]) - 1}")]
    cached = opened(f"{served}/train-{{000000..000005}}.tar", tmp_path)
    assert cached.reader.copies is not None
    assert cached.reader.copies.fetch(cached.reader.places[1], cached.reader.sha256[1]) is not None
    Server.asked.clear()
    assert torch.equal(cached[12]["image"], sample["image"]) and Server.asked == []


def test_a_server_without_ranges_serves_too(served: str, tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(logging.getLogger("fieldbook"), "propagate", True)
    Server.ranges = False
    dataset = opened(f"{served}/train-*.tar", tmp_path)
    assert all(dataset[number]["index"] == number for number in range(SAMPLES))
    assert "sends whole files only" in caplog.text
    assert len([name for name, _ in Server.asked if name.endswith(".tar")]) <= 8  # six, and the first sample's


def test_worker_processes_read_from_afar(served: str, packed: Path, tmp_path: Path) -> None:
    keys = {"DATALOADER__LOADER": "processes", "DATALOADER__NUM_WORKERS": 2}
    near = settings(f"shards:{packed}/train-*.tar", tmp_path / "near")
    afar = settings(f"shards:{served}/train-*.tar", tmp_path / "afar", **keys)
    for ours, theirs in zip(batches_of(afar, 0), batches_of(near, 0), strict=True):
        assert torch.equal(ours["image"], theirs["image"])


def test_shards_without_an_index_are_scanned_from_afar(served: str, packed: Path, tmp_path: Path) -> None:
    bare = packed / "bare"
    bare.mkdir()
    for shard in sorted(packed.glob("train-*.tar")):
        shutil.copy(shard, bare)
    try:
        for cache in (50, 0):
            dataset = opened(f"{served}/bare/train-*.tar", tmp_path / str(cache), cache_gb=cache)
            assert len(dataset) == SAMPLES and dataset.classes == ["0", "1", "2"]
            assert torch.equal(dataset[33]["image"], opened(f"{packed}/train-*.tar", tmp_path)[33]["image"])
    finally:
        shutil.rmtree(bare)


def test_a_torn_copy_is_never_believed(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = find(f"file://{packed}/train-000000.tar")[0]
    monkeypatch.setattr(time, "sleep", lambda _: None)
    system = type(fsspec.filesystem("file"))
    whole, cuts = system.get_file, [3000, 3000]

    def torn(self: Any, path: str, local: str, **options: Any) -> None:
        whole(self, path, local, **options)
        if cuts:
            with open(local, "r+b") as file:
                file.truncate(cuts.pop())

    monkeypatch.setattr(system, "get_file", torn)
    copy = Copies(tmp_path, 1e9).fetch(place)
    assert copy is not None and not cuts and copy.read_bytes() == (packed / "train-000000.tar").read_bytes()
    copy.write_bytes(b"cut")  # by someone else
    assert Copies(tmp_path, 1e9).find(place) is None
    cuts += [3000] * copying.TRIES
    with pytest.raises(CopyFailed, match="train-000000.tar: cut short: 3000 of"):
        Copies(tmp_path, 1e9).fetch(place)
    with pytest.raises(CopyFailed, match="its sha256 is not that of its index"):
        Copies(tmp_path, 1e9).fetch(place, "0" * 64)
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_copies_used_longest_ago_make_room(packed: Path, tmp_path: Path) -> None:
    places = find(f"file://{packed}/train-*.tar")
    copies = Copies(tmp_path, 3.5 * places[0].size)
    left = tmp_path / f".writing-0123-killed.tar.{places[0].size}"  # of a process that was killed
    left.touch()
    for number in (0, 1, 2, 0, 3):
        copies.fetch(places[number])
        time.sleep(0.01)
    assert [number for number, place in enumerate(places) if copies.find(place) is not None] == [0, 2, 3]
    assert not left.exists()


def fetch_all(folder: Path, pattern: str, limit: float) -> None:
    """Of another process: reads every shard through the copies."""
    places = find(pattern)
    for place in places:
        copy = Copies(folder, limit).fetch(place)
        assert copy is not None


def test_several_processes_share_copies(packed: Path, tmp_path: Path) -> None:
    pattern = f"file://{packed}/train-*.tar"
    size = find(pattern)[0].size
    forked = multiprocessing.get_context("fork")
    workers = [forked.Process(target=fetch_all, args=(tmp_path, pattern, 3 * size + 10)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.is_file()) <= 3 * size + 10


def test_what_cannot_be_fetched_is_named(served: str, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"/train-000006.tar: no such shard"):
        opened(f"{served}/train-{{000000..000006}}.tar", tmp_path)
    with pytest.raises(UserError, match=r"cannot be asked for \(ClientConnectorError: .*"):  # nobody listens there
        find("http://127.0.0.1:9/train-{000000..000001}.tar")
    with pytest.raises(UserError, match="CACHE_GB 1e-05 is less than a shard, 2.*kB; raise it, or 0"):
        opened(f"{served}/train-*.tar", tmp_path, cache_gb=1e-5)
    dataset = opened(f"{served}/train-*.tar", tmp_path, cache_gb=0)
    monkeypatch.setattr(Server, "do_GET", lambda self: self.send_error(500))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with pytest.raises(BadSample, match=r"http://.*/train-000000.tar:c\d/0\d\d.jpg: the shard cannot be read \(.*500"):
        dataset[3]


def test_a_cache_that_is_small_for_the_window_is_warned_of(memory: str, packed: Path, tmp_path: Path,
                                                           caplog: pytest.LogCaptureFixture,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(logging.getLogger("fieldbook"), "propagate", True)
    size = (packed / "train-000000.tar").stat().st_size
    opened(f"{memory}/train-*.tar", tmp_path, cache_gb=3.1 * size / 1e9, window=4)
    assert "holds fewer shards than are mixed at a time (DATASETS.SHARD_WINDOW 4)" in caplog.text


@pytest.mark.parametrize("cache", [50, 0], ids=["cache", "no cache"])
def test_a_connection_that_fails_is_not_kept_as_a_torn_shard(
    served: str, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: float
) -> None:
    bare = tmp_path / "bare.tar"
    shutil.copy(packed / "train-000000.tar", bare)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    healthy = Server.do_GET
    monkeypatch.setattr(Server, "translate_path", lambda self, path: str(tmp_path / path.lstrip("/")))
    monkeypatch.setattr(Server, "do_GET", lambda self: self.send_error(500) if self.path.endswith(".tar") else healthy(self))
    with pytest.raises(UserError, match=r"bare.tar: .*500"):
        opened(f"{served}/bare.tar", tmp_path / "root", cache_gb=cache, skip_bad=True, max_bad=0.5)
    monkeypatch.setattr(Server, "do_GET", healthy)
    assert len(opened(f"{served}/bare.tar", tmp_path / "root", cache_gb=cache)) == 10


@pytest.mark.parametrize("name", ["classes.txt", "train-000000.tar.index"])
def test_a_store_that_refuses_is_not_taken_for_a_cache_that_cannot_be_written(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    monkeypatch.setattr(logging.getLogger("fieldbook"), "propagate", True)
    healthy = Server.do_GET
    monkeypatch.setattr(Server, "do_GET", lambda self: self.send_error(403) if name in self.path else healthy(self))
    with pytest.raises(UserError, match=rf"{name}: cannot be asked for \(.*403.*forbid listing"):
        opened(f"{served}/train-{{000000..000001}}.tar", tmp_path)
    assert "cannot be written" not in caplog.text


def test_a_copy_that_fails_in_an_unknown_way_gives_its_turn_back(
    served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("fieldbook"), "propagate", True)
    dataset = opened(f"{served}/train-*.tar", tmp_path)

    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("size")

    monkeypatch.setattr(Copies, "fetch", broken)
    for row in range(0, SAMPLES, 10):  # a sample of each shard: more than may be copied at a time
        assert dataset[row]["image"].shape == (3, 12, 16)
    deadline = time.monotonic() + 120
    while dataset.reader._copying and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not dataset.reader._copying and "KeyError" in caplog.text
