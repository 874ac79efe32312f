"""One run in a row of plain values: what lists, queries, groups and the index know of it. Never its curves."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from tracking.record import read_record, state_of
from tracking.resolve import read_config, same

Row = dict[str, Any]

ENDED = ("finished", "failed", "interrupted")  # what only a person, or a resumed run, changes again
BOOKKEEPING = frozenset({"NAME", "OUTPUT_DIR"})  # differ in every run and change nothing
_DATE = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")
_TEXTS = ("parent", "started", "host", "config_digest", "code_digest", "tree_digest")


def summarize(path: Path) -> Row:
    """The row of the run in `path`; what cannot be read is empty there and said in `problems`, which is never raised."""
    try:
        record = read_record(path)
    except (TypeError, AttributeError, ValueError) as error:
        return _broken(path, f"{path / 'run.json'}: {error}")
    run, status = record.run, record.status
    problems = list(record.problems)
    row: Row = {"id": path.name, "name": record.name, **{key: _text(run.get(key)) for key in _TEXTS}}
    try:
        row["status"] = state_of(record) if status else "broken"
        row["sessions"] = len(status.get("sessions") or [])
        row["resumed_with"] = _changes_of_sessions(status)
    except (TypeError, AttributeError, ValueError, KeyError, IndexError) as error:
        problems.append(f"{path / 'status.json'}: sessions are not as they should be ({error})")
        row.update(status="broken", sessions=0, resumed_with={})
    row["started"] = row["started"] or date_in(path.name)
    row |= {key: _text(status.get(key)) for key in ("ended", "reason", "primary_metric")}
    row["seconds"] = _number(status.get("seconds"))
    row["seed"] = run.get("seed")
    row["git"] = run["git"] if isinstance(run.get("git"), dict) else {}
    row["data"] = _data_names(run.get("data"))
    row["adopted"] = bool(run.get("adopted"))
    row["code_edited"] = bool(status.get("code_edited"))
    row |= _words(record.notes, run)
    row["metrics"], wrong = _metrics(status.get("metrics", {}))
    problems += [f"{path / 'status.json'}: {what}" for what in wrong]
    row["value"] = value_of(row, row["primary_metric"])
    row["problems"] = problems
    return row


def value_of(row: Row, metric: str) -> float | None:
    """The value a run is judged by: its best of `metric`, or, with `metric` ending in `.last`, its last."""
    entry = row["metrics"].get(metric.removesuffix(".last"))
    if not entry:
        return None
    value = entry.get("last") if metric.endswith(".last") or entry.get("best") is None else entry.get("best")
    return None if value is None else float(value)


def changes(row_config: dict[str, Any], parent_config: dict[str, Any]) -> dict[str, list[Any]]:
    """{KEY: [parent's, this one's]} for each key that differs; a key that one of them lacks counts as None."""
    keys = sorted({*row_config, *parent_config} - BOOKKEEPING)
    pairs = {key: [parent_config.get(key), row_config.get(key)] for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and not same(*pair)}


def date_in(text: str) -> str:
    """The date of a folder's name as it stands there, or ""."""
    match = _DATE.search(text)
    return match[0] if match else ""


class ConfigReader:
    """Reads many config.yml quickly: most lines of most runs are equal, so each distinct line is parsed once.

    What does not fit on lines of its own (hand-written YAML) goes through the full parser.
    """

    def __init__(self) -> None:
        self._lines: dict[str, tuple[int, str, Any] | None] = {}

    def read(self, path: Path) -> dict[str, Any]:
        """A run's config.yml as dotted key -> plain value; {} where it cannot be read."""
        try:
            text = (path / "config.yml").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return {}
        flat: dict[str, Any] = {}
        section = ""
        for line in text.splitlines():
            if line not in self._lines:
                self._lines[line] = self._parse(line)
            parsed = self._lines[line]
            if parsed is None:
                return self._whole(path)
            indent, key, value = parsed
            if not key:
                continue
            if indent == 0 and value is None:
                section = key
            elif indent == 0:
                flat[key] = value
            else:
                flat[f"{section}.{key}"] = value
        return flat

    @staticmethod
    def _whole(path: Path) -> dict[str, Any]:
        try:
            return {key: _plain(value) for key, value in read_config(path).items()}
        except (AttributeError, TypeError, ValueError):  # YAML, but no mapping
            return {}

    @staticmethod
    def _parse(line: str) -> tuple[int, str, Any] | None:
        """(indentation, key, value); an empty key for a comment; None where a line alone does not say it all."""
        import yaml

        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            return 0, "", None
        indent = len(line) - len(line.lstrip())
        try:
            content = yaml.safe_load(stripped)
        except yaml.YAMLError:
            return None
        if indent not in (0, 2) or not isinstance(content, dict) or len(content) != 1:
            return None
        ((key, value),) = content.items()
        if value == "" and stripped[-1] in "|>-+" or (value is None and indent):
            return None
        return indent, str(key), _plain(value)


def _broken(path: Path, problem: str) -> Row:
    row: Row = dict.fromkeys((*_TEXTS, "ended", "reason", "primary_metric", "why", "expect", "verdict"), "")
    row |= {"id": path.name, "name": path.name, "status": "broken", "started": date_in(path.name), "seconds": 0.0}
    row |= {"tags": [], "metrics": {}, "value": None, "sessions": 0, "resumed_with": {}, "seed": None, "git": {}}
    return row | {"data": "", "adopted": False, "code_edited": False, "problems": [problem]}


def _words(notes: dict[str, str], run: dict[str, Any]) -> Row:
    """Why, expectation, verdict and tags: people edit notes.md, so it wins over the facts of the start."""
    # A heading of one's own ends the tags: it is none of the five that divide the file.
    typed = re.split(r"^#\s", notes.get("Tags", ""), flags=re.MULTILINE)[0].replace(",", " ").split()
    tags = typed if "Tags" in notes else run.get("tags", [])
    return {
        "why": notes.get("Why") or _text(run.get("why")),
        "expect": notes.get("Expected") or _text(run.get("expect")),
        "verdict": notes.get("Verdict", ""),
        "tags": [str(tag) for tag in tags] if isinstance(tags, list) else [],
    }


def _metrics(content: Any) -> tuple[dict[str, dict[str, Any]], list[str]]:
    if not isinstance(content, dict):
        return {}, ["metrics is no object"]
    good, wrong = {}, []
    for name, entry in content.items():
        if isinstance(entry, dict) and all(_fits(entry.get(k)) for k in ("last", "best")):
            good[name] = {key: entry.get(key) for key in ("last", "best", "best_step")}
        else:
            wrong.append(f"metrics {name!r}: expected last, best and best_step, got {str(entry)[:60]!r}")
    return good, wrong


def _fits(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _changes_of_sessions(status: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for session in status.get("sessions") or []:
        merged.update(session.get("changes") or {})
    return merged


def _data_names(data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    return " ".join(sorted({str(split.get("name", "")) for split in data.values() if isinstance(split, dict)}))


def _plain(value: Any) -> Any:
    """Dates, which YAML knows and JSON does not, as text: the index and the files then say the same."""
    return value if isinstance(value, str | int | float | None) else json.loads(json.dumps(value, default=str))


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return 0.0
    return number if math.isfinite(number) else 0.0
