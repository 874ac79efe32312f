"""Which run is meant by a word on the command line, and which run is a new run's parent."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from tracking.record import Record, read_record
from utils.errors import UserError
from utils.registry import nearest

NOT_PARENTS = {"debug", "sweep"}  # tags of runs that are no baseline


def list_runs(folder: Path) -> list[Path]:
    """The run folders of `folder`, oldest first; what begins with a dot is none."""
    if not folder.is_dir():
        return []
    found = [p for p in folder.iterdir() if not p.name.startswith(".") and (p / "run.json").is_file()]
    return sorted(found, key=lambda p: (_date(p), p.name))


def find_run(folder: Path, text: str) -> Path:
    """A folder, a name (its newest run), a unique part of one, `last`, `last~2`, `best:METRIC`, or any of them with `^`.

    Raises:
        UserError: there is no such run, or several; the message lists the candidates.
    """
    if text.endswith("^"):
        return _parent_of(folder, find_run(folder, text[:-1]))
    for path in (Path(text), folder / text):
        if text and (path / "run.json").is_file():
            return path.resolve()
    runs = list_runs(folder)
    back = re.fullmatch(r"last(?:~(\d+))?", text)
    if back:
        if len(runs) <= int(back[1] or 0):
            raise UserError(f"{text}: there are only {len(runs)} runs in {folder}")
        return runs[-1 - int(back[1] or 0)]
    if text.startswith("best:"):
        return _best(folder, runs, text.removeprefix("best:"))
    named = [p for p in runs if read_record(p).name == text]
    if named:
        return named[-1]
    parts = [p for p in runs if text and text in p.name]
    if len(parts) == 1:
        return parts[0]
    if parts:
        raise UserError(f"{text!r} could be {', '.join(p.name for p in parts[-5:])}; give more of the name")
    raise UserError(f"no run {text!r} in {folder}{nearest(text, [p.name for p in runs])}; tools/train_net.py makes them")


def choose_parent(folder: Path, name: str, config: dict[str, Any], explicit: str = "") -> tuple[Record | None, bool]:
    """The run that a new one is compared with, and whether that is only a guess.

    The one named; else the newest finished run of the name that is no debug or sweep run; else, of the last 20 runs,
    the one with the most similar config.

    Raises:
        UserError: the run named does not exist.
    """
    if explicit:
        return read_record(find_run(folder, explicit)), False
    records = [read_record(path) for path in reversed(list_runs(folder))]
    finished = [r for r in records if r.status.get("status") == "finished" and not NOT_PARENTS & set(r.run.get("tags", []))]
    same = next((r for r in finished if r.name == name), None)
    if same is not None or not finished:
        return same, False
    alike = {r.id: _likeness(config, read_config(r.path)) for r in finished[:20]}
    return max(finished[:20], key=lambda r: alike[r.id]), True


def read_config(path: Path) -> dict[str, Any]:
    """A run's config.yml as dotted key -> plain value, never through defaults; {} where it cannot be read."""
    try:
        content = yaml.safe_load((path / "config.yml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return {}
    flat: dict[str, Any] = {}
    for key, value in (content or {}).items():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": v for inner, v in value.items()})
        else:
            flat[key] = value
    return flat


def _likeness(config: dict[str, Any], other: dict[str, Any]) -> int:
    return sum(same(value, other.get(key)) for key, value in config.items())


def same(a: Any, b: Any) -> bool:
    """Whether two config values are equal, lists and tuples alike; YAML 1.1 reads 1e-05 as text."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) != isinstance(b, float) and not isinstance(a, bool) and not isinstance(b, bool):
        try:
            return math.isclose(float(a), float(b))
        except (TypeError, ValueError):
            return False
    return bool(a == b)


def _best(folder: Path, runs: list[Path], metric: str) -> Path:
    scored = []
    for path in runs:
        best = read_record(path).status.get("metrics", {}).get(metric, {}).get("best")
        if best is not None:
            scored.append((best, path))
    if not scored:
        raise UserError(f"best:{metric}: no run in {folder} has that metric")
    lower = re.search(r"loss|mae|rmse|error", metric) is not None
    return (min if lower else max)(scored, key=lambda pair: pair[0])[1]


def _parent_of(folder: Path, path: Path) -> Path:
    parent = read_record(path).run.get("parent")
    if not parent:
        raise UserError(f"{path.name} has no parent")
    return find_run(folder, str(parent))


def _date(path: Path) -> str:
    match = re.search(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", path.name)
    return match[0] if match else ""
