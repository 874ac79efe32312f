"""Checkpoints of sharded training: a folder, to which each rank writes its part. Any number of ranks can read it.

    weights/last/state.pt              all that is not sharded, and in place of each sharded tensor its shape and type
    weights/last/shard-*.safetensors   the sharded tensors, by torch.distributed.checkpoint, one file a rank
    weights/last/files.sha256          `cd weights/last && sha256sum -c files.sha256` checks them

weights/manifest.json has the digest of files.sha256, and so of all. Nothing of it is a pickle that could run code: state.pt is
loaded with weights_only=True, and safetensors, unlike torch.distributed.checkpoint's own format, holds none.

A folder is written aside, flushed, announced in the manifest and renamed. The one that lies there goes out of the way before
and is deleted after: whenever a kill comes, one of the two is whole, and both are looked for on resume.
"""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

from engine import distributed
from engine.checkpoint import FILES, OLD, STATE, CheckpointWriter, save_file
from engine.host_copy import HostCopy
from engine.manifest import announce, settle
from engine.sharding import is_cut
from utils.errors import NoUsableCheckpoint
from utils.files import fsync_directory, sha256_file, temporary_beside, write_atomic

T = TypeVar("T")


class ShardedWriter(CheckpointWriter):
    """Writes checkpoints of all ranks into one folder; each rank has one, and all call it alike.

    What is called ....pt (best.pt) is one plain file, written by rank 0. What any rank cannot write, no rank has written.
    """

    suffix = ""

    def __init__(self, folder: Path, device: torch.device) -> None:
        super().__init__(folder)
        self.device = device

    def write(self, name: str, content: dict[str, Any], *, step: int, metric: float | None = None) -> None:
        """Writes `content`, the same on every rank but for the parts of sharded tensors.

        Raises:
            OSError: on all ranks, if some rank's disk is full or read-only; what was there is untouched.
        """
        if name.endswith(".pt"):
            _together(lambda: _on_main(lambda: super(ShardedWriter, self).write(name, content, step=step, metric=metric)))
            return
        rest, shards = split(content)
        # Rank 0's process names the temporary folder, which has to be the same on every rank.
        aside = Path(distributed.broadcast(str(temporary_beside(self.folder / name))))
        try:
            _together(lambda: _on_main(lambda: _make_anew(aside)))
            _save_shards(shards, aside)
            _together(lambda: _on_main(lambda: save_file(aside / STATE, HostCopy().take(rest))))
            digests = self._digests(aside)
            _together(lambda: _on_main(lambda: self._put(aside, name, digests, {"step": step, "metric": metric})))
        finally:
            _on_main(lambda: shutil.rmtree(aside, ignore_errors=True))

    def remove_epochs(self, keep: Collection[str], *, before: int) -> None:
        """As ever, by rank 0 alone; the others wait for it."""
        _together(lambda: _on_main(lambda: super(ShardedWriter, self).remove_epochs(keep, before=before)))

    def _digests(self, folder: Path) -> str:
        """Of all files, as sha256sum writes them; each rank reads its share of the files.

        Over a network a node may not see yet what another one has just written: what counts is what any rank sees.
        """
        seen = _together(lambda: [path.name for path in folder.iterdir()])
        names = sorted({name for some in seen for name in some})
        own = names[distributed.rank() :: distributed.world_size()]
        lines = _together(lambda: [f"{sha256_file(folder / name)}  {name}\n" for name in own])
        return "".join(sorted((line for some in lines for line in some), key=lambda line: line[66:]))

    def _put(self, aside: Path, name: str, digests: str, version: dict[str, Any]) -> None:
        path, old = self.folder / name, self.folder / f"{name}{OLD}"
        write_atomic(aside / FILES, digests)
        version = {"sha256": sha256_file(aside / FILES), **version}
        announce(self.folder, name, version)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(path, old)
        os.rename(aside, path)
        fsync_directory(self.folder)
        with suppress(OSError):  # the folder lies there and is announced: that is enough to load it
            settle(self.folder, name, version)
        shutil.rmtree(old, ignore_errors=True)
        self.forget_other(name)


def split(state: Any) -> tuple[Any, dict[str, Any]]:
    """(`state` with {"sharded": shape, "dtype": name} in place of each sharded tensor, place -> sharded tensor)."""
    shards: dict[str, Any] = {}

    def walk(value: Any, where: str) -> Any:
        if isinstance(value, dict):
            return {key: walk(part, f"{where}/{key}" if where else str(key)) for key, part in value.items()}
        if type(value) in (list, tuple):
            return type(value)(walk(part, f"{where}/{i}") for i, part in enumerate(value))
        if not is_cut(value):
            return value
        shards[where] = value.detach()
        return {"sharded": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}

    return walk(state, ""), shards


def join(rest: Any, folder: Path, device: torch.device | None = None) -> Any:
    """The state that `split` took apart, its tensors read from the shards in `folder`; any other state as it is. All ranks
    must call this.

    Args:
        device: of the ranks that each take their part of a tensor; None gives whole tensors on the CPU.

    Raises:
        NoUsableCheckpoint: the shards are not those of `rest`.
    """
    places: dict[str, torch.Tensor] = {}

    def walk(value: Any, where: str) -> Any:
        if isinstance(value, dict) and value.keys() == {"sharded", "dtype"}:
            places[where] = _empty(tuple(value["sharded"]), getattr(torch, value["dtype"]), device)
            return places[where]
        if isinstance(value, dict):
            return {key: walk(part, f"{where}/{key}" if where else str(key)) for key, part in value.items()}
        if type(value) in (list, tuple):
            return type(value)(walk(part, f"{where}/{i}") for i, part in enumerate(value))
        return value

    state = walk(rest, "")
    if places:
        _load_shards(places, folder)
    return state


def _empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | None) -> torch.Tensor:
    if device is None:
        return torch.empty(shape, dtype=dtype)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, empty

    mesh = init_device_mesh(device.type, (distributed.world_size(),))
    return empty(*shape, dtype=dtype, device_mesh=mesh, placements=[Shard(0)])  # as fully_shard cuts a weight


def _save_shards(shards: dict[str, Any], folder: Path) -> None:
    import torch.distributed.checkpoint as dcp

    try:
        dcp.save(shards, storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True), no_dist=_alone())
    except dcp.CheckpointException as error:  # raised on all ranks
        cause = _cause(error.failures, (OSError,))
        raise _same_error(str(getattr(cause, "strerror", "") or cause)) from error


def _load_shards(places: dict[str, torch.Tensor], folder: Path) -> None:
    import torch.distributed.checkpoint as dcp
    from safetensors import SafetensorError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that one rank alone loads them is as it should be
            dcp.load(places, storage_reader=dcp.HuggingFaceStorageReader(str(folder)), no_dist=_alone())
    except dcp.CheckpointException as error:  # of whatever any rank raised
        # What torch says of files that are broken, of other names or of other shapes.
        cause = _cause(error.failures, (OSError, ValueError, KeyError, RuntimeError, AssertionError, SafetensorError))
        raise NoUsableCheckpoint(f"{folder.name}: its shards cannot be read ({' '.join(str(cause).split())[:120]})") from error


def _cause(failures: dict[int, Any], expected: tuple[type[Exception], ...]) -> BaseException:
    """The first of the errors of ranks; raised where it is none of those `expected`."""
    causes: list[BaseException] = [cause for cause, _ in failures.values()]
    unexpected = next((cause for cause in causes if not isinstance(cause, expected)), None)
    if unexpected is not None:
        raise unexpected
    return causes[0]


def _make_anew(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _alone() -> bool:
    return distributed.world_size() == 1


def _on_main(act: Callable[[], Any]) -> Any:
    return act() if distributed.is_main() else None


def _together(act: Callable[[], T]) -> list[T]:
    """What `act` gives on each rank. An OSError of any rank is raised on all: else some would wait for others for ever."""
    result, said = None, ""
    try:
        result = act()
    except OSError as error:
        said = error.strerror or str(error)
    answers = distributed.gather((result, said))
    failed = next((words for _, words in answers if words), "")
    if failed:
        raise _same_error(failed)
    return [part for part, _ in answers]


def _same_error(words: str) -> OSError:
    return OSError(errno.EIO, words)
