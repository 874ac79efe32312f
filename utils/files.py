"""Files that are whole or absent: written aside in the same folder, flushed to disk, renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

TEMPORARY_PREFIX = ".writing-"


def fsync_directory(path: Path) -> None:
    """Make a rename in folder `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_beside(path: Path) -> Path:
    """A name in the folder of `path` (never in $TMPDIR: renaming across file systems is a copy that can tear)."""
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}.{os.getpid()}")


def write_atomic(path: Path | str, content: bytes | str) -> None:
    """Replace `path` by `content` (str as UTF-8) so that readers see the old file or the new one, never a part.

    Raises:
        OSError: the folder is not writable or the disk is full; the old file is untouched.
    """
    path = Path(path)
    aside = temporary_beside(path)
    try:
        with open(aside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):  # a read-only folder refuses this too, and the first error says more
            aside.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def write_json(path: Path | str, content: Any) -> None:
    """As `write_atomic`, of JSON that people can read too."""
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def sha256_file(path: Path | str) -> str:
    """The hexadecimal sha256 digest of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sweep(folder: Path) -> list[str]:
    """Deletes what a killed process left of files and folders it was writing here (`temporary_beside`); their names.

    Only whoever owns the folder may call this. What cannot be deleted stays.
    """
    swept = []
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if not path.name.endswith(f".{os.getpid()}"):  # this process may be writing that one just now
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                swept.append(path.name)
    return swept


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written where `folder` lies or will lie."""
    place = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    return shutil.disk_usage(place).free


def size(count: float) -> str:
    """Bytes: `812 B`, `4.1 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
