"""Removing runs, and the weights of runs, in a way that can be undone: everything moves to `.trash` first.

    .trash/<when>-<what>/entry.json     {"what", "when", "moves": [[from, to], ...]}, paths relative to the folder of runs
    .trash/<when>-<what>/files/...      what was moved

Moving is a rename within one folder: quick, and whole or not at all. The disk is freed when the trash is emptied.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tracking.reading.index import Runs
from tracking.reading.summary import Row
from utils.errors import UserError
from utils.files import write_json

KEPT_WEIGHTS = {"best.pt", "last.pt", "last"}  # the last is a folder, of sharded training


@dataclass(frozen=True)
class Item:
    """Something to be moved away: a path relative to the folder of runs, and its bytes."""

    run: str
    path: str
    bytes: int


def plan_removal(runs: Runs, rows: Sequence[Row]) -> list[Item]:
    """Whole runs.

    Raises:
        UserError: one of them still runs.
    """
    for row in rows:
        if row["status"] == "running":
            raise UserError(f"{row['id']} is still running on {row['host'] or 'an unknown host'}; stop it first")
    return [Item(row["id"], row["id"], bytes_of(runs.path(row))) for row in rows]


def plan_pruning(runs: Runs, rows: Sequence[Row]) -> list[Item]:
    """Weights that nothing needs any more: all but best, last, and all of a run that others have as parent.

    Records, curves, figures, code and the small files beside the weights are never among them. Passed over are living
    runs, and adopted ones: which of their files is the best, only a person knows.
    """
    parents = {row["parent"] for row in runs.rows}
    items = []
    for row in rows:
        if row["status"] == "running" or row["id"] in parents or row["adopted"]:
            continue
        weights = runs.path(row) / "weights"
        for file in sorted(weights.rglob("*")) if weights.is_dir() else []:
            kept = {file.name, file.parent.name} & KEPT_WEIGHTS or file.suffix in (".json", ".yml", ".txt")
            if not kept and file.is_file():
                items.append(Item(row["id"], file.relative_to(runs.folder).as_posix(), bytes_of(file)))
    return items


def move(folder: Path, items: Sequence[Item], what: str) -> Path:
    """Moves the items to the trash; the entry's folder.

    Raises:
        UserError: something cannot be moved; what had been moved is put back.
    """
    entry = _new_entry(folder, what)
    moves = [[item.path, f"files/{item.path}"] for item in items]
    source = "entry.json"
    try:
        # The list is written first: whatever happens on the way, undo knows what may lie here.
        write_json(entry / source, {"what": what, "when": entry.name[:19], "moves": moves})
        for source, target in moves:
            (entry / target).parent.mkdir(parents=True, exist_ok=True)
            os.rename(folder / source, entry / target)
    except OSError as error:
        _put_back(folder, entry, moves)
        raise UserError(f"{source}: cannot be put into the trash ({error.strerror}); nothing was removed") from error
    return entry


def undo(folder: Path) -> tuple[str, list[str]]:
    """Puts back what the newest removal took: (what that was, the paths).

    Raises:
        UserError: the trash is empty, damaged, or something has taken a path's place.
    """
    entries = _entries(folder)
    if not entries:
        raise UserError(f"nothing to undo: {folder / '.trash'} is empty")
    entry = entries[-1]
    try:
        content = json.loads((entry / "entry.json").read_text())
        moves = [[str(source), str(target)] for source, target in content["moves"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{entry / 'entry.json'}: {error}; its files lie beside it and can be moved by hand") from error
    for source, target in moves:
        if os.path.lexists(entry / target) and os.path.lexists(folder / source):
            raise UserError(f"{folder / source} exists again; move it away, then undo")
    _put_back(folder, entry, moves)
    return str(content.get("what", "")), [source for source, _ in moves]


def trash_bytes(folder: Path) -> int:
    """What emptying the trash would free."""
    return bytes_of(folder / ".trash")


def empty(folder: Path) -> None:
    """Deletes the trash for good."""
    shutil.rmtree(folder / ".trash", ignore_errors=True)


def bytes_of(path: Path) -> int:
    """What deleting would free: of a file, or of all files below a folder; a file that has another name too frees nothing."""
    if not path.is_dir() or path.is_symlink():
        return _freed(path)
    return sum(_freed(os.path.join(folder, name)) for folder, _, files in os.walk(path) for name in files)


def _freed(path: Path | str) -> int:
    try:
        info = os.lstat(path)
    except OSError:
        return 0  # a file that vanished meanwhile
    return info.st_size if info.st_nlink == 1 else 0


def _new_entry(folder: Path, what: str) -> Path:
    moment = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for number in range(1, 10_000):
        entry = folder / ".trash" / f"{moment}-{number:04d}-{what}"
        try:
            entry.mkdir(parents=True)
            return entry
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{entry.parent}: cannot be written ({error.strerror}); nothing was removed") from error
    raise AssertionError("ten thousand removals in a second")


def _entries(folder: Path) -> list[Path]:
    trash = folder / ".trash"
    return sorted(p for p in trash.iterdir() if (p / "entry.json").is_file()) if trash.is_dir() else []


def _put_back(folder: Path, entry: Path, moves: list[list[str]]) -> None:
    for source, target in moves:
        if os.path.lexists(entry / target):
            (folder / source).parent.mkdir(parents=True, exist_ok=True)
            os.rename(entry / target, folder / source)
    shutil.rmtree(entry, ignore_errors=True)
