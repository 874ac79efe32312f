"""What is searched: KEY=SPEC words, or a YAML of them, checked against the config before anything is tried."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import config
from config.load import SECTION
from config.yaml_loader import read_value, read_yaml
from utils.errors import UserError

KINDS = ("grid", "choice", "uniform", "loguniform", "int")
MAX_GRID = 10_000  # points
_SPEC = re.compile(r"\s*([A-Za-z_]+)\s*\((.*)\)\s*", re.DOTALL)
_OWN = {
    "NAME": "it names the sweep",
    "OUTPUT_DIR": "all trials lie in one folder",
    "SEED": "--seeds N repeats each point",
    "DATASETS.FOLDS": "--folds K sets it",
    "DATASETS.FOLD": "--folds K runs each",
}


@dataclass(frozen=True)
class Dimension:
    """One key that is searched.

    Attributes:
        text: the SPEC as it was given.
        values: those of grid and choice; (least, greatest) of the others, both included.
    """

    key: str
    text: str
    kind: str
    values: tuple[Any, ...]

    @property
    def listed(self) -> bool:
        """Whether `values` are all there are."""
        return self.kind in ("grid", "choice")

    def all_values(self) -> tuple[Any, ...] | None:
        """Every value, in order; None where there is no end of them."""
        if self.kind == "int":
            return tuple(range(self.values[0], self.values[1] + 1))
        return self.values if self.listed else None


def parse_search(words: Sequence[str]) -> list[Dimension]:
    """The dimensions of the words after --search, each a FILE or KEY=SPEC.

    Raises:
        UserError: a file that cannot be read, a malformed SPEC, an empty range, a key that is given twice or not searched.
    """
    found: list[Dimension] = []
    for word in words:
        key, equals, spec = word.partition("=")
        if equals and re.fullmatch(r"[A-Z][\w.]*", key):
            found.append(_parse(key, spec, f"--search {word}"))
        elif Path(word).is_file():
            found += _read(Path(word))
        else:
            raise UserError(f"--search {word}: neither a file nor KEY=SPEC, such as SOLVER.BASE_LR=grid(0.1,0.01)")
    keys = [dimension.key for dimension in found]
    for key in keys:
        if keys.count(key) > 1:
            raise UserError(f"--search: {key} is given twice; keep one")
        if key in _OWN:
            raise UserError(f"--search: {key} is not searched, {_OWN[key]}")
    return found


def check_search(
    dimensions: Sequence[Dimension], file: str | None, overrides: Sequence[config.Override | tuple[str, Any]]
) -> None:
    """Tries what each key may become on the config, one key at a time.

    Raises:
        UserError: a key that does not exist, a value of the wrong type or out of range, a key that is set as well.
    """
    given = {entry[0] for entry in overrides}
    for dimension in dimensions:
        if dimension.key in given:
            raise UserError(f"{dimension.key} is set on the command line and searched; keep one")
        low, high = dimension.values[0], dimension.values[-1]
        middle = () if dimension.listed or dimension.kind == "int" else (low + (high - low) * 0.387,)
        for value in dimension.values if dimension.listed else (low, *middle, high):
            entry = config.Override(dimension.key, as_text(value), f"--search {dimension.key}={dimension.text}")
            try:
                config.load_file(file, [*overrides, entry])
            except UserError as error:
                ranged = dimension.kind in ("uniform", "loguniform") and "a whole number" in str(error)
                raise UserError(f"{error}; write int(least,greatest)" if ranged else str(error)) from error


def grid(dimensions: Sequence[Dimension]) -> list[dict[str, Any]]:
    """Every point, the last key changing fastest.

    Raises:
        UserError: a range has no end of values, or there are more than MAX_GRID points.
    """
    for dimension in dimensions:
        if dimension.all_values() is None:
            raise UserError(f"--sampler grid: {dimension.key}={dimension.text} has no end of values; write grid(...)")
    values = [dimension.all_values() or () for dimension in dimensions]
    count = math.prod(map(len, values))
    if count > MAX_GRID:
        raise UserError(f"--search: a grid of {count} points (at most {MAX_GRID}); take fewer values, or --sampler random")
    keys = [dimension.key for dimension in dimensions]
    return [dict(zip(keys, point, strict=True)) for point in itertools.product(*values)]


def as_text(value: Any) -> str:
    """A value as the command line takes it, with all its digits."""
    return value if isinstance(value, str) else json.dumps(value)


def described(params: dict[str, Any]) -> str:
    """A point in a line, numbers short."""
    return ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in params.items())


def _read(path: Path) -> list[Dimension]:
    try:
        pairs = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--search {path}: cannot be read as text") from error
    found = []
    for key, (value, where) in pairs.items():
        if value is SECTION:
            continue
        if not isinstance(value, str):
            raise UserError(f"{where}: {key} expects a SPEC such as grid(0.1,0.01), got {value!r}")
        found.append(_parse(key, value, where))
    if not found:
        raise UserError(f"--search {path}: nothing is searched; it is a YAML of KEY: SPEC lines")
    return found


def _parse(key: str, text: str, where: str) -> Dimension:
    match = _SPEC.fullmatch(text)
    if not match or match[1] not in KINDS:
        raise UserError(f"{where}: no SPEC; it is grid(0.1,0.01), choice(a,b), uniform(a,b), loguniform(a,b) or int(a,b)")
    kind, values = match[1], read_value(f"[{match[2]}]", where)
    if not isinstance(values, list):
        raise UserError(f"{where}: {match[2]!r} is no list of values; write {kind}(1, 2)")
    if kind in ("grid", "choice"):
        values = list(_plain(values))
        if not values:
            raise UserError(f"{where}: {kind}() has no values; write {kind}(0.1, 0.01)")
        if len(set(values)) < len(values):
            raise UserError(f"{where}: a value stands twice")
    else:
        _check_range(kind, values, where)
        values = [int(v) if kind == "int" else float(v) for v in values]
    return Dimension(key, text.strip(), kind, tuple(values))


def _plain(values: Sequence[Any]) -> Iterator[Any]:
    """Lists and mappings as text: a storage of Optuna keeps numbers, words and truth values only."""
    for value in values:
        yield json.dumps(value) if isinstance(value, list | dict) else value


def _check_range(kind: str, values: Sequence[Any], where: str) -> None:
    whole = kind == "int"
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
    if len(values) != 2 or len(numbers) != 2 or whole and not all(isinstance(v, int) for v in numbers):
        raise UserError(f"{where}: {kind} takes two {'whole ' if whole else ''}numbers, {kind}(least, greatest)")
    low, high = numbers
    if low > high or low == high and not whole:
        raise UserError(f"{where}: the range from {low:g} to {high:g} is empty; the least comes first")
    if kind == "loguniform" and low <= 0:
        raise UserError(f"{where}: loguniform needs a least value above 0, got {low:g}; take uniform, or a small number")
