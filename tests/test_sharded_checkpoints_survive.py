"""A sharded checkpoint is whole or absent, checked before it is believed, and holds nothing that could run code.

In this process, as one rank; test_sharded_ranks.py has the same with two.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from engine import distributed
from engine.checkpoint import CheckpointWriter, load_newest
from engine.sharded_checkpoint import ShardedWriter, join, split
from utils.errors import NoUsableCheckpoint
from utils.files import sweep

pytest.importorskip("safetensors", reason="the extra `export` is not installed")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """A process group of this process only: sharded tensors need one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def state(step: int) -> dict[str, Any]:
    """What a trainer might give: sharded tensors, whole ones, plain values."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    weight = distribute_tensor(torch.full((5, 3), float(step)), init_device_mesh("cpu", (1,)), [Shard(0)])
    moments = {0: {"momentum_buffer": weight.clone(), "step": torch.tensor(3.0)}}
    return {
        "progress": {"epoch": 1, "step": step, "step_in_epoch": 0},
        "model": {"a.b": weight, "mean": torch.arange(3.0)},
        "optimizer": {"state": moments, "names": [["a.b"]]},
    }


def read(folder: Path) -> tuple[str, int] | None:
    """Name and step of the newest good checkpoint, whose weights are of that step."""
    found = load_newest(folder)
    if found is None:
        return None
    content = join(found[1], folder / found[0])
    step = content["progress"]["step"]
    assert torch.equal(content["model"]["a.b"], torch.full((5, 3), float(step)))
    assert torch.equal(content["optimizer"]["state"][0]["momentum_buffer"], torch.full((5, 3), float(step)))
    return found[0], step


def test_what_is_split_is_joined(tmp_path: Path) -> None:
    given = state(4)
    rest, shards = split(given)
    assert set(shards) == {"model/a.b", "optimizer/state/0/momentum_buffer"} and rest["model"]["mean"] is given["model"]["mean"]
    ShardedWriter(tmp_path, CPU).write("last", given, step=4)
    name, content = load_newest(tmp_path) or ("", {})
    parts = join(content, tmp_path / name, CPU)
    assert parts["model"]["a.b"].placements == given["model"]["a.b"].placements
    assert torch.equal(parts["model"]["a.b"].full_tensor(), given["model"]["a.b"].full_tensor())
    assert read(tmp_path) == ("last", 4)
    assert not [path for path in tmp_path.iterdir() if path.name not in ("last", "manifest.json")]


class Killed(BaseException):
    """What a kill is to the code: nothing after it happens."""


@pytest.mark.parametrize("first", [False, True])
def test_a_kill_at_any_call_leaves_a_whole_checkpoint(first: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The k-th of the calls that change the disk is the last one, for each k; also of the first checkpoint of a run."""
    count = limit = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count >= limit > 0:
                raise Killed
            return real(*words, **named)

        return call

    for module, name in ((os, "rename"), (os, "replace"), (os, "fsync"), (shutil, "rmtree"), (Path, "mkdir")):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    kills, whole = 0, False
    while not whole:
        limit, folder = 0, tmp_path / str(kills)
        folder.mkdir()
        writer = ShardedWriter(folder, CPU)
        if not first:
            writer.write("last", state(1), step=1)
        kills, count, limit = kills + 1, 0, kills + 1
        try:
            writer.write("last", state(2), step=2)
            whole = True
        except Killed:
            pass
        limit = 0
        found = read(folder)
        assert found in ([None, ("last", 2)] if first else [("last.old", 1), ("last", 1), ("last", 2)]), (kills, found)
        writer.write("last", state(3), step=3)
        assert read(folder) == ("last", 3)
    assert kills > 8


@pytest.mark.parametrize("damage", ["flip", "cut", "missing", "added", "list", "pickle"])
def test_a_damaged_folder_is_rejected_for_an_older_good_one(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = ShardedWriter(tmp_path, CPU)
    writer.write("epoch_0001", state(1), step=1)
    writer.write("last", state(2), step=2)
    shard = next((tmp_path / "last").glob("shard-*"))
    mark = tmp_path / "ran"
    if damage == "flip":
        content = bytearray(shard.read_bytes())
        content[-5] ^= 1
        shard.write_bytes(content)
    elif damage == "cut":
        shard.write_bytes(shard.read_bytes()[:-5])
    elif damage == "missing":
        shard.unlink()
    elif damage == "added":
        shutil.copy(shard, shard.with_name("shard-00009-model-00001-of-00001.safetensors"))
    elif damage == "list":
        (tmp_path / "last" / "files.sha256").write_text("")
    else:
        (tmp_path / "last" / "state.pt").write_bytes(pickle.dumps(Evil(str(mark))))
    assert read(tmp_path) == ("epoch_0001", 1)
    assert "rejected last" in caplog.text
    (tmp_path / "manifest.json").unlink()  # then the folder's own list of digests is what there is
    assert read(tmp_path) == ("epoch_0001", 1) and not mark.exists()


class Evil:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


def test_no_pickle_runs_though_its_digest_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who can write the folder can write its digests: what is loaded must be harmless in itself."""
    from utils.files import sha256_file

    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    ShardedWriter(tmp_path, CPU).write("last", state(2), step=2)
    (tmp_path / "manifest.json").unlink()
    folder, mark = tmp_path / "last", tmp_path / "ran"
    torch.save({"progress": Evil(str(mark))}, folder / "state.pt")
    (folder / ".metadata").write_bytes(pickle.dumps(Evil(str(mark))))
    names = sorted(path.name for path in folder.iterdir() if path.name != "files.sha256")
    (folder / "files.sha256").write_text("".join(f"{sha256_file(folder / name)}  {name}\n" for name in names))
    with pytest.raises(NoUsableCheckpoint):
        read(tmp_path)
    assert not mark.exists()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ShardedWriter(tmp_path, CPU)
    writer.write("last", state(1), step=1)
    real = os.fsync

    def full(descriptor: int) -> None:
        if b"shard-" in os.readlink(f"/proc/self/fd/{descriptor}".encode()):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        writer.write("last", state(2), step=2)
    assert read(tmp_path) == ("last", 1) and len(list(tmp_path.iterdir())) == 2


def test_the_other_form_of_a_checkpoint_goes_when_the_new_one_is_there(tmp_path: Path) -> None:
    whole = {"progress": {"step": 1}, "model": {"a.b": torch.ones(5, 3)}}
    plain, sharded = CheckpointWriter(tmp_path), ShardedWriter(tmp_path, CPU)
    plain.write("last.pt", whole, step=1)
    sharded.write("last", state(2), step=2)
    assert not (tmp_path / "last.pt").exists() and read(tmp_path) == ("last", 2)
    plain.write("last.pt", {**whole, "progress": {"step": 3}}, step=3)
    assert not (tmp_path / "last").exists() and (load_newest(tmp_path) or ("",))[0] == "last.pt"


def test_old_epochs_and_what_a_kill_left_are_deleted(tmp_path: Path) -> None:
    writer = ShardedWriter(tmp_path, CPU)
    for step in (1, 2, 3):
        writer.write(f"epoch_{step:04d}", state(step), step=step)
    writer.remove_epochs({"epoch_0002"}, before=3)
    assert sorted(path.name for path in tmp_path.glob("epoch*")) == ["epoch_0002", "epoch_0003"]
    (tmp_path / ".writing-last.1" / "x").mkdir(parents=True)
    assert sweep(tmp_path) == [".writing-last.1"] and not list(tmp_path.glob(".*"))


def test_only_rank_0_deletes_old_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ShardedWriter(tmp_path, CPU)
    for step in (1, 2):
        writer.write(f"epoch_{step:04d}", state(step), step=step)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    writer.remove_epochs(set(), before=2)
    assert (tmp_path / "epoch_0001").is_dir()
    monkeypatch.undo()
    writer.remove_epochs(set(), before=2)
    assert not (tmp_path / "epoch_0001").exists()


def test_digests_are_of_the_files_that_any_rank_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a network rank 0 may not see yet what another node has written."""
    (tmp_path / "mine").write_text("1")
    (tmp_path / "theirs").write_text("2")
    monkeypatch.setattr(Path, "iterdir", lambda self: iter([self / "mine"]))
    real = distributed.gather
    monkeypatch.setattr(
        distributed, "gather", lambda value: [*real(value), (["theirs"], "")] if value[0] == ["mine"] else real(value)
    )
    digests = ShardedWriter(tmp_path, CPU)._digests(tmp_path)
    assert [line.partition("  ")[2] for line in digests.splitlines()] == ["mine", "theirs"]


def test_a_programming_error_is_not_taken_for_a_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ShardedWriter(tmp_path, CPU).write("last", state(2), step=2)
    _, content = load_newest(tmp_path) or ("", {})
    monkeypatch.setattr(dcp.HuggingFaceStorageReader, "read_data", lambda *_: None.gone)  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="gone"):
        join(content, tmp_path / "last", CPU)
    monkeypatch.undo()
    next((tmp_path / "last").glob("shard-*")).write_bytes(b"no safetensors")
    with pytest.raises(NoUsableCheckpoint, match="last: its shards cannot be read"):
        join(content, tmp_path / "last", CPU)
