"""Checkpoints: whole or absent, and checked before they are believed."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Collection
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import torch

from engine import distributed
from engine.manifest import MANIFEST, announce, forget, is_lost, read_manifest, settle, versions
from utils.errors import NoUsableCheckpoint
from utils.files import fsync_directory, sha256_file, temporary_beside

LOG = logging.getLogger("fieldbook.checkpoint")
SCHEMA = 1
EPOCH = re.compile(r"epoch_\d+(\.pt)?")  # a file, or of sharded training a folder (engine/sharded_checkpoint.py)
STATE, FILES = "state.pt", "files.sha256"  # in such a folder
OLD = ".old"  # what a folder is called while the next one takes its place


class CheckpointWriter:
    """Writes checkpoint files into one folder; the one place that knows how.

    A file is written under a temporary name in the same folder, flushed to disk, announced in the manifest with its
    sha256, and renamed: a good file is never opened for writing.

    Attributes:
        suffix: of the names of checkpoints to resume from.
        device: of sharded training; every rank then has a writer, and all do the same.
    """

    suffix = ".pt"
    device: torch.device | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: dict[str, Any], *, step: int, metric: float | None = None) -> None:
        """Writes `content` (plain types and tensors) as `name`.

        Raises:
            OSError: the disk is full or the folder read-only; what was there is untouched.
        """
        path = self.folder / name
        aside = temporary_beside(path)
        try:
            aside.unlink(missing_ok=True)
            version = {"sha256": save_file(aside, content), "step": step, "metric": metric}
            announce(self.folder, name, version)
            os.replace(aside, path)
            fsync_directory(self.folder)
            with suppress(OSError):  # the file lies there and is announced: that is enough to load it
                settle(self.folder, name, version)
            self.forget_other(name)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def forget_other(self, name: str) -> None:
        """Deletes the checkpoint that the one called `name`, which is on disk now, replaces in another form: last.pt for last
        when a run goes on sharded, or the other way round."""
        other = name.removesuffix(".pt") if name.endswith(".pt") else f"{name}.pt"
        if other in read_manifest(self.folder):
            self._remove(other)

    def remove_epochs(self, keep: Collection[str], *, before: int) -> None:
        """Deletes the epoch_NNNN.pt (or folders epoch_NNNN) of steps before `before`, but for those to `keep`.

        Only what the manifest lists is ours; a link is left alone; what cannot be deleted is warned of.
        """
        for name, entry in read_manifest(self.folder).items():
            if EPOCH.fullmatch(name) and name not in keep and all(v["step"] < before for v in versions(entry)):
                self._remove(name)

    def _remove(self, name: str) -> None:
        path = self.folder / name
        if path.is_symlink():
            LOG.warning("%s is not deleted: it is a link", path)
            return
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            forget(self.folder, name)
        except OSError as error:
            LOG.warning("%s could not be deleted (%s)", path, error.strerror)


class _HashingFile:
    """A file that knows the sha256 of what went through it. torch.save writes from front to back and never seeks."""

    def __init__(self, file: FileIO) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def write(self, block: Any) -> int:
        left = memoryview(block)
        self.digest.update(left)
        while left:  # a file without a buffer may take less than it is given
            left = left[self._file.write(left) :]
        return len(block)

    def flush(self) -> None:
        """There is no buffer: a worker that is forked meanwhile inherits nothing that it could write once more."""


def save_file(path: Path, content: dict[str, Any]) -> str:
    """Writes a new file, flushed to disk; its sha256.

    Raises:
        OSError: the disk is full or the folder read-only.
    """
    with open(path, "xb", buffering=0) as file:
        hashing = _HashingFile(file)
        _save({"schema": SCHEMA, **content}, hashing)
        os.fsync(file.fileno())
    return hashing.digest.hexdigest()


def _save(content: dict[str, Any], file: _HashingFile) -> None:
    try:
        torch.save(content, file)  # type: ignore[arg-type]
    except RuntimeError as error:  # what torch makes of a full disk, while it closes its archive
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of one file, after it was found to be what was written; of a folder that of its state.pt.

    Raises:
        NoUsableCheckpoint: it is missing, changed, broken or of a newer schema; the message says which.
    """
    if path.is_dir():
        _verify_folder(path)
        return load_file(path / STATE)
    _verify(path)
    return load_file(path)


def load_newest(folder: Path) -> tuple[str, dict[str, Any]] | None:
    """Name and content of the newest good checkpoint that resuming can use; None where none was ever written.

    Tried are last.pt and epoch_NNNN.pt, and folders of such names, newest first; each that is rejected is warned of. On
    several ranks all must call this: rank 0 chooses, so that all go on from the same file.

    Raises:
        NoUsableCheckpoint: there are some, and none is good; the message lists what was tried.
    """
    chosen: list[tuple[str, dict[str, Any]]] = []

    def choose() -> str:
        chosen.extend(_choose(folder))
        return chosen[0][0] if chosen else ""

    name = distributed.on_main(choose)
    if not name:
        return None
    if chosen:
        return chosen[0]
    folders = (folder / name).is_dir()  # rank 0 read all of its files: once is enough
    return name, load_file(folder / name / STATE) if folders else load_checkpoint(folder / name)


def _choose(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Name and content of the newest good checkpoint; empty where none was ever written."""
    manifest = read_manifest(folder)
    if is_lost(folder):
        LOG.warning("%s cannot be read: the files are judged by the check sums within them", folder / MANIFEST)
    files = {p.name for p in folder.glob("*") if EPOCH.fullmatch(_base(p)) or _base(p) in ("last", "last.pt")}
    # What a file claims is the newest step it may have; a kill before a rename leaves it with an older one.
    claims = {n: max((v["step"] for v in versions(manifest.get(_base(folder / n), {}))), default=2**62) for n in files}
    tried: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    while claims:
        name = max(claims, key=lambda n: (claims[n], n))  # of the same step last.pt, by the alphabet
        del claims[name]
        try:
            found = found if name in found else {name: _load_state(folder / name)}
        except NoUsableCheckpoint as error:
            LOG.warning("rejected %s", error)
            tried.append(name)  # what is wrong with it was just said
            continue
        step = found[name]["progress"]["step"]
        if step >= max(claims.values(), default=-1):
            return [(name, found[name])]
        claims[name] = step
    tried += [f"{n} (gone)" for n in manifest if n not in files and n != "best.pt" and "sha256" in manifest[n]]
    if tried:
        raise NoUsableCheckpoint(f"{folder}: no usable checkpoint; tried {', '.join(tried)}; nothing was deleted")
    return []


def _load_state(path: Path) -> dict[str, Any]:
    """A checkpoint that training can go on from.

    Raises:
        NoUsableCheckpoint: it is not good, or it is another file.
    """
    content = load_checkpoint(path)
    progress = content.get("progress")
    if not isinstance(progress, dict) or not isinstance(progress.get("step"), int):
        raise NoUsableCheckpoint(f"{path.name}: holds no state of a training")
    return content


def _base(path: Path) -> str:
    """The name by which the manifest knows it."""
    return path.name.removesuffix(OLD) if path.is_dir() else path.name


def _verify_folder(path: Path) -> None:
    """Raises NoUsableCheckpoint where a file of a sharded checkpoint is missing, too many, or not what was written."""
    try:
        known = versions(read_manifest(path.parent).get(_base(path), {}))
        if known and sha256_file(path / FILES) not in {version["sha256"] for version in known}:
            raise NoUsableCheckpoint(f"{path.name}: its {FILES} is not what was written (sha256 differs)")
        lines = (path / FILES).read_text(encoding="utf-8").splitlines()
        digests = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        files = {file.name for file in path.iterdir()} - {FILES}
        if files != set(digests) or STATE not in files:
            raise NoUsableCheckpoint(f"{path.name}: missing or added: {', '.join(sorted(files ^ set(digests))) or STATE}")
        for name, digest in digests.items():
            if sha256_file(path / name) != digest:
                raise NoUsableCheckpoint(f"{path.name}: the content of {name} is not what was written (sha256 differs)")
    except (OSError, ValueError) as error:
        raise NoUsableCheckpoint(f"{path.name}: cannot be read ({_words(error)})") from error


def _verify(path: Path) -> None:
    """Raises NoUsableCheckpoint where a file is missing, or not what was written: by the manifest's digests, or, where
    none is known, by the check sums within the file, which torch.load does not look at."""
    try:
        known = versions(read_manifest(path.parent).get(path.name, {}))
        if known:
            if sha256_file(path) not in {version["sha256"] for version in known}:
                raise NoUsableCheckpoint(f"{path.name}: its content is not what was written (sha256 differs)")
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
            if broken:
                raise NoUsableCheckpoint(f"{path.name}: its content is not what was written (check sum of {broken})")
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError, EOFError, zlib.error) as error:
        raise NoUsableCheckpoint(f"{path.name}: cannot be read ({_words(error)})") from error


def load_file(path: Path) -> dict[str, Any]:
    """The content of a file, whose digest is somebody else's matter.

    Raises:
        NoUsableCheckpoint: it cannot be read, or is none of ours.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for broken files
        raise NoUsableCheckpoint(f"{path.name}: cannot be read ({_words(error)})") from error
    if not isinstance(content, dict):
        raise NoUsableCheckpoint(f"{path.name}: holds a {type(content).__name__}, no checkpoint")
    if not isinstance(content.get("schema", 0), int):
        raise NoUsableCheckpoint(f"{path.name}: its schema is no number")
    if content.get("schema", 0) > SCHEMA:
        raise NoUsableCheckpoint(f"{path.name}: written by newer code (schema {content['schema']})")
    return content


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
