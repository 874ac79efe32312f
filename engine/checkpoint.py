"""Checkpoints: whole or absent, and checked before they are believed."""

from __future__ import annotations

import hashlib
import logging
import os
import re
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
EPOCH = re.compile(r"epoch_\d+\.pt")


class CheckpointWriter:
    """Writes checkpoint files into one folder; the one place that knows how.

    A file is written under a temporary name in the same folder, flushed to disk, announced in the manifest with its
    sha256, and renamed: a good file is never opened for writing.
    """

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
            with open(aside, "xb", buffering=0) as file:
                hashing = _HashingFile(file)
                _save({"schema": SCHEMA, **content}, hashing)
                os.fsync(file.fileno())
            version = {"sha256": hashing.digest.hexdigest(), "step": step, "metric": metric}
            announce(self.folder, name, version)
            os.replace(aside, path)
            fsync_directory(self.folder)
            with suppress(OSError):  # the file lies there and is announced: that is enough to load it
                settle(self.folder, name, version)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def remove_epochs(self, keep: Collection[str], *, before: int) -> None:
        """Deletes the epoch_NNNN.pt of steps before `before`, but for those to `keep`.

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
            path.unlink(missing_ok=True)
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


def _save(content: dict[str, Any], file: _HashingFile) -> None:
    try:
        torch.save(content, file)  # type: ignore[arg-type]
    except RuntimeError as error:  # what torch makes of a full disk, while it closes its archive
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of one file, after it was found to be what was written.

    Raises:
        NoUsableCheckpoint: it is missing, changed, broken or of a newer schema; the message says which.
    """
    _verify(path)
    return _load(path)


def load_newest(folder: Path) -> tuple[str, dict[str, Any]] | None:
    """Name and content of the newest good checkpoint that resuming can use; None where none was ever written.

    Tried are last.pt and epoch_NNNN.pt, newest first; each that is rejected is warned of. On several ranks all must call
    this: rank 0 chooses, so that all go on from the same file.

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
    return chosen[0] if chosen else (name, load_checkpoint(folder / name))


def _choose(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Name and content of the newest good checkpoint; empty where none was ever written."""
    manifest = read_manifest(folder)
    if is_lost(folder):
        LOG.warning("%s cannot be read: the files are judged by the check sums within them", folder / MANIFEST)
    files = {path.name for path in (folder / "last.pt", *folder.glob("epoch_*.pt")) if path.exists()}
    # What a file claims is the newest step it may have; a kill before a rename leaves it with an older one.
    claims = {n: max((v["step"] for v in versions(manifest.get(n, {}))), default=2**62) for n in files}
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


def _load(path: Path) -> dict[str, Any]:
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
