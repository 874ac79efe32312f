"""The configs of runs as plain data, dotted key -> value: never through today's defaults, so that old runs stay readable."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracking.record import read_record

BOOKKEEPING = frozenset({"NAME", "OUTPUT_DIR", "VERSION", "MIRRORS"})  # differ without changing anything


def changes(
    row_config: dict[str, Any], parent_config: dict[str, Any], origins: Callable[[], tuple[dict[str, str], dict[str, str]]]
) -> dict[str, list[Any]]:
    """{KEY: [parent's, this one's]} for each key that differs. One that a config lacks is None there, and no difference where
    the other one's value is but a default: old runs lack new keys.

    Args:
        origins: () -> key -> where its value came from, of this run and of the parent; asked only where keys are missing.
    """
    keys = sorted({*row_config, *parent_config} - BOOKKEEPING)
    pairs = {key: [parent_config.get(key), row_config.get(key)] for key in keys}
    pairs = {key: pair for key, pair in pairs.items() if pair[0] != pair[1] and not same(*pair)}
    if all(key in row_config and key in parent_config for key in pairs):
        return pairs
    own, theirs = origins()
    unset = {key for key in pairs if key not in parent_config and own.get(key) == "default"}
    unset |= {key for key in pairs if key not in row_config and theirs.get(key) == "default"}
    return {key: pair for key, pair in pairs.items() if key not in unset}


def read_origins(path: Path) -> dict[str, str]:
    """Config key -> where its value came from, as the run in `path` recorded it; {} where it did not."""
    return {key: str(value) for key, value in read_record(path).run.get("origins", {}).items()}


def read_config(path: Path) -> dict[str, Any]:
    """A run's config.yml as dotted key -> plain value, never through defaults; {} where it cannot be read."""
    import yaml  # a tenth of the time of a list that needs no config

    try:
        content = yaml.safe_load((path / "config.yml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):  # ValueError: no UTF-8, the 99th of a month
        return {}
    flat: dict[str, Any] = {}
    for key, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": _plain(v) for inner, v in value.items()})
        else:
            flat[str(key)] = _plain(value)
    return flat


def same(a: Any, b: Any) -> bool:
    """Whether two config values are equal, lists and tuples alike; YAML 1.1 reads 1e-05 as text."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) != isinstance(b, float) and not isinstance(a, bool) and not isinstance(b, bool):
        try:
            return math.isclose(float(a), float(b))
        except (TypeError, ValueError, OverflowError):
            return False
    return bool(a == b)


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
                return read_config(path)
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
    def _parse(line: str) -> tuple[int, str, Any] | None:
        """(indentation, key, value); an empty key for a comment; None where a line alone does not say it all."""
        import yaml

        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            return 0, "", None
        indent = len(line) - len(line.lstrip())
        try:
            content = yaml.safe_load(stripped)
        except (yaml.YAMLError, ValueError, RecursionError):
            return None
        if indent not in (0, 2) or not isinstance(content, dict) or len(content) != 1:
            return None
        ((key, value),) = content.items()
        if value == "" and stripped[-1] in "|>-+" or (value is None and indent):
            return None
        return indent, str(key), _plain(value)


def _plain(value: Any) -> Any:
    """Dates, which YAML knows and JSON does not, as text: the index and the files then say the same."""
    if isinstance(value, str | int | float | None):
        return value
    try:
        return json.loads(json.dumps(value, default=str))
    except (TypeError, ValueError, RecursionError):  # keys that are no text, a list that holds itself
        return repr(value)
