"""`--where KEY OP VALUE` over config keys, metrics and the record's own fields."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tracking.reading.index import Runs
from tracking.reading.summary import Row, metric_names, value_of
from utils.errors import UserError
from utils.registry import nearest

FIELDS = (
    "id", "name", "status", "started", "ended", "seconds", "why", "expect", "verdict", "tags", "parent", "reason", "seed",
    "host", "data", "primary_metric", "value", "config_digest", "code_digest", "git.commit", "git.branch", "git.dirty",
)  # fmt: skip
_CONDITION = re.compile(r"\s*([^\s<>=!~]+)\s*(<=|>=|!=|!~|==|=|<|>|~)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """One `KEY OP VALUE`."""

    key: str
    operator: str
    value: str


def parse(text: str) -> Condition:
    """A condition from the command line.

    Raises:
        UserError: it is none.
    """
    match = _CONDITION.fullmatch(text)
    if not match:
        raise UserError(
            f"--where {text!r}: expected KEY OP VALUE with OP one of < <= > >= = != ~ (contains) !~, "
            "such as 'SOLVER.BASE_LR<0.1', 'status=finished' or 'why~smoothing'"
        )
    key, operator, value = match.groups()
    return Condition(key, "=" if operator == "==" else operator, value)


def select(runs: Runs, rows: Sequence[Row], conditions: Sequence[str]) -> list[Row]:
    """The rows that fulfil all conditions, in their order.

    Raises:
        UserError: a condition that is none, or a key that no run has.
    """
    kept = list(rows)
    for text in conditions:
        condition = parse(text)
        get = getter(runs, rows, condition.key)
        kept = [row for row in kept if holds(condition, get(row))]
    return kept


def getter(runs: Runs, rows: Sequence[Row], key: str) -> Callable[[Row], Any]:
    """What gives a run's value of `key`: a field, a metric (its best; `.last` for its last), or a config key.

    Raises:
        UserError: no run has such a thing; the message names the nearest.
    """
    if key in FIELDS:
        first, _, second = key.partition(".")
        return (lambda row: row[first].get(second)) if second else (lambda row: row[key])
    if "/" in key or any(key.removesuffix(".last") in row["metrics"] for row in rows):
        if rows:
            check_metric(runs, rows, key)
        return lambda row: value_of(row, key)
    runs.load_configs(row["id"] for row in rows)
    keys = {name for row in rows for name in runs.config(row["id"])}
    if rows and key not in keys:
        ends = sorted(name for name in keys if name.endswith(f".{key}"))
        if len(ends) != 1:  # BASE_LR will do where only one section has it
            everything = sorted({*keys, *FIELDS, *metric_names(rows)})
            raise UserError(f"no run has {key!r} as a config key, metric or field{nearest(key, everything)}")
        key = ends[0]
    return lambda row: runs.config(row["id"]).get(key)


def check_metric(runs: Runs, rows: Sequence[Row], metric: str) -> None:
    """Raises UserError, naming what there is, unless one of the rows has `metric`."""
    known = metric_names(rows)
    if metric.removesuffix(".last") not in known:
        shown = f" (there are: {', '.join(known)})" if known else ""
        raise UserError(f"no run in {runs.folder} has the metric {metric!r}{nearest(metric, known)}{shown}")


def holds(condition: Condition, actual: Any) -> bool:
    """Whether a value fulfils a condition. What a run does not have only fulfils `!=` and `!~`."""
    operator, wanted = condition.operator, condition.value
    if operator.startswith("!"):
        return not holds(Condition(condition.key, operator[1:], wanted), actual)
    if actual is None:
        return False
    if operator == "~":
        return wanted.casefold() in _text(actual).casefold()
    if operator == "=":
        if isinstance(actual, list):
            return wanted == _text(actual) or wanted in [str(item) for item in actual]
        numbers = _numbers(actual, wanted)
        return numbers[0] == numbers[1] if numbers else _text(actual).casefold() == wanted.casefold()
    numbers = _numbers(actual, wanted)
    if numbers is None and isinstance(actual, int | float) and not isinstance(actual, bool):
        raise UserError(f"--where: {condition.key} is a number, {wanted!r} is none")
    if condition.key in ("started", "ended") and not wanted[:4].isdigit():
        raise UserError(f"--where: {condition.key} is a date, {wanted!r} is none; write it as 2026-01-31, or its beginning")
    left, right = numbers if numbers else (_text(actual), wanted)  # dates compare as text
    order = (left > right) - (left < right)  # type: ignore[operator]
    return {"<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[operator]


def _numbers(actual: Any, wanted: str) -> tuple[float, float] | None:
    if isinstance(actual, bool):
        return None
    try:
        limit = float(wanted)
        if isinstance(actual, int) and abs(actual) >> 1000:  # too large for a float
            return math.inf if actual > 0 else -math.inf, limit
        return float(actual), limit
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
