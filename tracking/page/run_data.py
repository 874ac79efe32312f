"""What the page loads of a run once it is chosen: facts, files and curves; and its code, each distinct file once."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracking import environment
from tracking.page.curves import read_curves
from tracking.page.text import as_url
from tracking.reading.diff import Code, code_of
from tracking.reading.index import Runs
from tracking.reading.summary import Row
from tracking.record import read_record

TEXT_LIMIT = 300_000  # bytes of a file that is shown
FILES_LIMIT = 60  # of each folder
_FOLDERS = ("figures", "weights", "export", "crash")
_FILES = ("log.txt", "config.yml", "notes.md", "metrics.jsonl", "test.json", "predictions.csv", "env.txt")
ODD = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)  # what a record may cause
_PICTURES = (".png", ".jpg", ".jpeg", ".svg", ".webp", ".gif")


def name_of(run_id: str) -> str:
    """A file name for a run's data, whatever its folder is called."""
    return hashlib.sha256(os.fsencode(run_id)).hexdigest()[:16]


def code_key(runs: Runs, row: Row) -> str:
    """Equal for runs whose copies of the code are equal; "" where the code is unknown."""
    digest = row["tree_digest"]
    if digest and row["other_code"].startswith("it was resumed"):
        digest = repr(sorted(code_of(runs.path(row)).files.items()))
    return hashlib.sha256(digest.encode(errors="backslashreplace")).hexdigest()[:16] if digest else ""


def run_data(runs: Runs, row: Row) -> dict[str, Any]:
    """Everything of a run that is not in the overview. Addresses in `files` and `figures` are relative to its folder."""
    path = runs.path(row)
    record = read_record(path)
    facts = record.run.get("environment", {})
    text = environment.as_text({"packages": {}, **facts}) if isinstance(facts.get("packages", {}), dict) else ""
    return {
        "command": record.run.get("command", []),
        "device": str(facts.get("device", "")),
        "sessions": row["sessions"],
        "notes": record.notes.get("Notes", ""),
        "data": record.run.get("data", {}),
        "skipped": record.run.get("code_skipped", {}),
        "edited": record.status.get("code_edited", {}),
        "adopted": record.run.get("adopted", ""),
        "environment": text,
        "origins": {k: str(v) for k, v in record.run.get("origins", {}).items() if v != "default"},
        **_files(path),
        **_axes(runs.config(row["id"]) | dict(record.overrides), record.status, read_curves(path)),
    }


def signature(path: Path) -> str:
    """Changes whenever what `run_data` reads beside the watched files of the index does."""
    parts = []
    for name in ("metrics.jsonl", *_FOLDERS, "test.json", "predictions.csv"):
        try:
            info = os.stat(path / name)
            parts.append(f"{info.st_mtime_ns},{info.st_size}")
        except OSError:
            parts.append("-")
    return ";".join(parts)


@dataclass
class CodeStore:
    """The copies of code that runs have, by `code_key`; files by their digests."""

    runs: Runs
    _codes: dict[str, Code] = field(default_factory=dict)
    _places: dict[str, tuple[Path, str]] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Makes the code of a run known; costs nothing where an equal copy is."""
        key = code_key(self.runs, row)
        if not key or key in self._codes:
            return
        code = code_of(self.runs.path(row))
        self._codes[key] = code
        for name, digest in code.files.items():
            self._places.setdefault(digest[:16], (code.root, name))

    def copies(self) -> list[str]:
        """Their keys."""
        return list(self._codes)

    def files(self, key: str) -> dict[str, str]:
        """File -> the first 16 digits of its digest."""
        return {name: digest[:16] for name, digest in self._codes[key].files.items()}

    def differing(self) -> set[str]:
        """Digests of the files that not all copies have in common: only these are ever shown."""
        every = [set(self.files(key).items()) for key in self._codes]
        shared = set.intersection(*every) if every else set()
        return {digest for one in every for _, digest in one - shared}

    def text(self, digest: str) -> str | None:
        """A file's content; None where it is no text, is too large, is gone, or lies elsewhere by way of a link."""
        if digest not in self._places:
            return None
        root, name = self._places[digest]
        try:
            path = (root / name).resolve()
            if root.parent.resolve() / root.name not in path.parents or path.stat().st_size > TEXT_LIMIT:
                return None
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError, RuntimeError):  # RuntimeError: links in a circle
            return None


def _axes(config: dict[str, Any], status: dict[str, Any], curves: dict[str, Any]) -> dict[str, Any]:
    """The curves, with what makes epochs and samples of steps; None where the record does not say."""
    total, epochs = (status.get("progress") or {}).get("total_steps"), config.get("SOLVER.MAX_EPOCHS")
    batch = config.get("SOLVER.IMS_PER_BATCH")
    if not curves["epoch"][0] and not config.get("SOLVER.MAX_STEPS") and _is_count(total) and _is_count(epochs):
        curves["epoch"] = [[0, total], [0, epochs]]  # before an epoch ended; where steps are limited, the total tells nothing
    return {**curves, "batch": batch if _is_count(batch) else None}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53


def _files(path: Path) -> dict[str, Any]:
    """[name, address, bytes] each: what there is to look at, pictures apart."""
    top = _sizes(path)
    files = [[name, top[name]] for name in _FILES if name in top]
    figures: list[list[Any]] = []
    for folder in _FOLDERS:
        for name, size in sorted(_sizes(path / folder).items())[:FILES_LIMIT]:
            picture = folder == "figures" and name.lower().endswith(_PICTURES)
            (figures if picture else files).append([f"{folder}/{name}", size])
    sides = {"files": files, "figures": figures}
    return {side: [[_sayable(name), as_url(name), size] for name, size in found] for side, found in sides.items()}


def _sizes(folder: Path) -> dict[str, int]:
    """The plain files of a folder; none where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file() and entry.name[0] != "."}
    except OSError:
        return {}


def _sayable(name: str) -> str:
    """A file name that is no UTF-8 with marks in its place."""
    return name.encode("utf-8", "replace").decode()
