"""Records made of old, time-named folders: weights here, TensorBoard files there, some YAML, a log. Code: unknown."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tracking.keeping import old_files
from tracking.keeping.old_files import Curves
from tracking.notes import notes_text, tags_in
from tracking.reading.index import load
from tracking.reading.lookup import lower_is_better
from tracking.record import SCHEMA, read_record
from tracking.start import claim
from utils.errors import UserError
from utils.files import write_atomic, write_json

LOG = logging.getLogger("fieldbook.tracking")
_TIME = re.compile(r"(\d{4})[-_.]?(\d\d)[-_.]?(\d\d)(?:[-_T. ]{0,2}(\d\d)[-_:.h]?(\d\d)(?:[-_:.m]?(\d\d))?)?")
_TENSORBOARD_TIME = re.compile(r"([A-Z][a-z]{2}\d\d_\d\d-\d\d-\d\d)")  # May21_10-11-12_host
_KINDS = {
    "weights": re.compile(r".+\.(pth|pt|ckpt|tar|safetensors)$"),
    "runs": re.compile(r"(^|.*\.)events\.out\.tfevents\..*"),
    "config": re.compile(r".+\.ya?ml$"),
    "log": re.compile(r"(log.*\.txt|.*\.log|.*log\.txt)$", re.IGNORECASE),
    "figures": re.compile(r".+\.(png|jpg|svg)$"),
}
_PARTS = {"weights", "checkpoints", "ckpt", "models", "runs", "tb", "tensorboard", "logs", "log", "events", "figures"}
_NOTES = ("why", "expect", "verdict", "tags", "notes")  # columns of what was typed; others are scores, or go into the notes
_SCORE = re.compile(r"acc|top|f1|iou|map|auc|rank", re.IGNORECASE)


@dataclass
class Old:
    """An old folder, and which of its files are what."""

    folder: Path
    files: dict[str, list[Path]] = field(default_factory=dict)


def find(top: Path) -> list[Old]:
    """The old runs below `top`. A folder with a time in its name is one run with all that lies below; without one, the
    highest folder that holds something.

    Raises:
        UserError: there is no such folder.
    """
    if not top.is_dir():
        raise UserError(f"{top}: no such folder to adopt")
    found: dict[Path, Old] = {}
    # A dated folder of several that hold weights is a backup of runs, not a run.
    below = (child.rglob("*") for child in top.iterdir() if child.is_dir())
    trained = sum(any(_KINDS["weights"].match(file.name) for file in files) for files in below)
    dated = _has_time(top) and trained < 2
    for folder, folders, names in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if (Path(folder) / "run.json").is_file():  # a record of our own
            folders.clear()
            continue
        for name in sorted(names):
            kind = next((kind for kind, pattern in _KINDS.items() if pattern.match(name)), "")
            if kind:
                owner = _owner(top, dated, Path(folder), found)
                found.setdefault(owner, Old(owner)).files.setdefault(kind, []).append(Path(folder) / name)
    return [old for old in found.values() if set(old.files) & {"weights", "runs", "log"}]


def adopt_all(top: Path, runs: Path, typed: dict[str, dict[str, str]]) -> tuple[list[tuple[Path, str]], int]:
    """Records of all old runs below `top`: (old folder, run) for each new one, and how many had been adopted before.

    Args:
        typed: old folder's name -> its notes from paper.
    """
    done, made = _adopted_before(runs), []
    found = find(top)
    for old in found:
        name = old.folder.resolve().name
        if str(old.folder.resolve()) not in done:
            made.append((old.folder, adopt(old, runs, typed.get(name, {})).name))
    strangers = sorted(set(typed) - {old.folder.resolve().name for old in found})
    if strangers:
        LOG.warning("notes on folders that are not there: %s", ", ".join(strangers))
    return made, len(found) - len(made)


def adopt(old: Old, runs: Path, typed: dict[str, str]) -> Path:
    """Makes the record of an old folder in the folder `runs`; weights are hard links where the file system can.

    Args:
        typed: what was noted of it on paper: why, expect, verdict, tags, notes; other columns are scores or go into the notes.

    Raises:
        UserError: the record cannot be written; nothing is left of it.
    """
    curves = old_files.read_events(old.files.get("runs", []))
    for log in old.files.get("log", []):
        for name, points in old_files.read_log(log).items():
            curves.setdefault(name, points)
    started, ended = _times(old)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", _without_time(old.folder.resolve().name)).strip("._-") or "old"
    aside = runs / f".adopting-{os.getpid()}-{name[:80]}"
    try:
        aside.mkdir(parents=True)
        _fill(aside, old, curves, typed)
        write_json(aside / "status.json", _status(curves, typed, started, ended, old))
        return claim(aside, runs, f"{name[:100]}_{started:%Y-%m-%d_%H-%M-%S}", _run_json(old, name[:100], started, typed))
    except OSError as error:
        raise UserError(f"{runs}: the record cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _adopted_before(runs: Path) -> set[str]:
    """The old folders of which a run was made."""
    found = load(runs, write=False)
    return {str(read_record(found.path(row)).run.get("adopted")) for row in found.rows if row["adopted"]}


def _has_time(folder: Path) -> bool:
    return bool(_TIME.search(folder.name) or _TENSORBOARD_TIME.search(folder.name))


def _owner(top: Path, dated: bool, folder: Path, found: dict[Path, Old]) -> Path:
    parts = folder.relative_to(top).parts
    below = [top.joinpath(*parts[: i + 1]) for i in range(len(parts))]
    for candidate in below:
        if _has_time(candidate):
            return candidate
    if dated:
        return top
    # `top` itself is a run only by files of its own: what lies in folders below are others, unless it has weights.
    if top in found and "weights" in found[top].files:
        return top
    while folder != top and folder.name.lower() in _PARTS:
        folder = folder.parent
    return next((candidate for candidate in below if candidate in found), folder)


def _fill(aside: Path, old: Old, curves: Curves, typed: dict[str, str]) -> None:
    for kind in ("weights", "runs", "figures"):
        (aside / kind).mkdir()
        for file in old.files.get(kind, []):
            target = aside / kind / file.relative_to(old.folder) if kind == "runs" else aside / kind / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, target)
            except OSError:  # another file system, or two files of one name
                shutil.copy2(file, target if not target.exists() else target.with_name(f"{file.parent.name}-{file.name}"))
    configs = [path for path in old.files.get("config", []) if old_files.read_yaml(path) is not None]
    if configs:
        shutil.copy2(max(configs, key=lambda path: ("config" in path.name, path.stat().st_size)), aside / "config.yml")
    (aside / "log.txt").write_bytes(b"".join(path.read_bytes() for path in old.files.get("log", [])))
    steps: dict[int, dict[str, Any]] = {}
    for name, points in curves.items():
        for step, _, value in points:
            steps.setdefault(step, {"step": step})[name] = value
    (aside / "metrics.jsonl").write_text("".join(json.dumps(steps[step]) + "\n" for step in sorted(steps)))
    rest = [typed.get("notes", ""), *(f"{k}: {v}" for k, v in typed.items() if v and k not in _NOTES and _score(v) is None)]
    why, expect, verdict, tags = (typed.get(column, "") for column in ("why", "expect", "verdict", "tags"))
    text = notes_text(why, expect, tags_in(tags), verdict, "\n".join(filter(None, rest)))
    write_atomic(aside / "notes.md", text)


def _run_json(old: Old, name: str, started: datetime, typed: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "adopted": str(old.folder.resolve()),
        "why": typed.get("why", ""),
        "expect": typed.get("expect", ""),
        "tags": tags_in(typed.get("tags", "")),
        "parent": "",
        "started": started.astimezone().isoformat(timespec="seconds"),
        "command": [],
        "seed": None,
        "git": {},
        "code_digest": "",  # unknown: such a run is never pooled with others
        "tree_digest": "",
        "config_digest": "",
        "origins": {},
        "data": {},
        "environment": {},
    }


def _status(curves: Curves, typed: dict[str, str], started: datetime, ended: datetime, old: Old) -> dict[str, Any]:
    metrics: dict[str, dict[str, Any]] = {}
    for name, points in curves.items():
        lower = lower_is_better([], name)
        step, _, best = (min if lower else max)(points, key=lambda point: point[2])
        metrics[name] = {"last": points[-1][2], "best": best, "best_step": step}
    for name, content in typed.items():
        value = _score(content)
        if value is not None and name not in _NOTES:
            metrics[name] = {"last": value, "best": value, "best_step": None}
    names = sorted(metrics, key=lambda n: (not _SCORE.search(n), not n.startswith("val"), not n.startswith("test"), n))
    last = max((points[-1][0] for points in curves.values()), default=0)
    return {
        "schema": SCHEMA,
        "status": "finished",
        "reason": f"adopted from {old.folder}",
        "ended": ended.astimezone().isoformat(timespec="seconds"),
        "seconds": max((ended - started).total_seconds(), 0.0),
        "progress": {"epoch": 0, "step": last, "total_steps": last},
        "primary_metric": names[0] if names else "",
        "metrics": metrics,
        "sessions": [],
    }


def _times(old: Old) -> tuple[datetime, datetime]:
    """Start: the time in the folder's name, else its oldest file's. End: its newest file's."""
    stamps = [datetime.fromtimestamp(path.stat().st_mtime) for paths in old.files.values() for path in paths]
    first, last = min(stamps), max(stamps)
    name = old.folder.resolve().name
    match, short = _TIME.search(name), _TENSORBOARD_TIME.search(name)
    try:
        if match:
            first = datetime(*(int(part or 0) for part in match.groups()))  # type: ignore[arg-type]
        elif short:
            first = datetime.strptime(f"{last.year} {short[1]}", "%Y %b%d_%H-%M-%S")
    except ValueError:
        pass  # digits that are no date
    # Copied files bear the time of the copy: a training of more than a month says nothing of its length.
    return first, last if timedelta(0) <= last - first <= timedelta(days=31) else first


def _without_time(name: str) -> str:
    return _TENSORBOARD_TIME.sub("", _TIME.sub("", name, count=1)).strip("._- ")


def _score(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        return None
