"""Checkpoints: whole or absent, their digests in weights/manifest.json, checked before they are believed."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import torch

from utils.errors import NoUsableCheckpoint
from utils.files import fsync_directory, sha256_file, temporary_beside, write_atomic

LOG = logging.getLogger("fieldbook.checkpoint")
SCHEMA = 1
MANIFEST = "manifest.json"


class CheckpointWriter:
    """Writes checkpoint files into one folder; the one place that knows how.

    A file is written under a temporary name in the same folder, flushed to disk, entered into the manifest with its
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
            with open(aside, "wb") as file:
                torch.save({"schema": SCHEMA, **content}, file)
                file.flush()
                os.fsync(file.fileno())
            entry = {"sha256": sha256_file(aside), "step": step, "metric": metric}
            # The manifest names the new digest before and keeps the old one until the file is renamed: whichever
            # moment a kill takes, the file that lies there is one of the two.
            manifest = read_manifest(self.folder)
            previous = manifest.get(name, {}).get("sha256", "")
            _write_manifest(self.folder, {**manifest, name: {**entry, "previous": previous}})
            os.replace(aside, path)
            fsync_directory(self.folder)
        except RuntimeError as error:  # what torch.save makes of a full disk
            raise OSError(f"{path}: {error}") from error
        finally:
            aside.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Deletes a file that the manifest lists."""
        manifest = read_manifest(self.folder)
        if manifest.pop(name, None) is not None:
            (self.folder / name).unlink(missing_ok=True)
            _write_manifest(self.folder, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """File name -> {"sha256", "step", "metric", "previous"}; empty where there is none or it is broken."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of one file, after its digest was compared with the manifest's.

    Raises:
        NoUsableCheckpoint: it is missing, changed, broken or of a newer schema; the message says which.
    """
    entry = read_manifest(path.parent).get(path.name)
    try:
        if entry is not None and sha256_file(path) not in (entry["sha256"], entry.get("previous")):
            raise NoUsableCheckpoint(f"{path.name}: its content is not what was written (sha256 differs)")
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except NoUsableCheckpoint:
        raise
    except Exception as error:  # torch raises many kinds for broken files
        raise NoUsableCheckpoint(f"{path.name}: cannot be read ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(content, dict) or not isinstance(content.get("schema", 0), int):
        raise NoUsableCheckpoint(f"{path.name}: holds something else than a checkpoint")
    if content.get("schema", 0) > SCHEMA:
        raise NoUsableCheckpoint(f"{path.name}: written by newer code (schema {content['schema']})")
    return content


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest good checkpoint that resuming can use; None where none was ever written.

    Tried are last.pt and epoch_NNNN.pt, newest first; each that is rejected is warned of.

    Raises:
        NoUsableCheckpoint: there are some, and none is good; the message lists what was tried.
    """
    names = ["last.pt", *sorted((p.name for p in folder.glob("epoch_*.pt")), reverse=True)]
    tried = []
    for name in names:
        if not (folder / name).exists():
            continue
        try:
            return load_checkpoint(folder / name)
        except NoUsableCheckpoint as error:
            LOG.warning("rejected %s", error)
            tried.append(str(error))
    if tried or read_manifest(folder):
        raise NoUsableCheckpoint(f"{folder}: no usable checkpoint; tried {'; '.join(tried) or 'none, all are gone'}")
    return None
