"""Which runs to list, in which order, and as what: shared by `ls`, `best` and `groups`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from tracking.reading.index import Runs
from tracking.reading.lookup import lower_is_better, ranking
from tracking.reading.query import check_metric, getter, select
from tracking.reading.summary import Row

LOG = logging.getLogger("fieldbook.exp")
PAGE = 25  # rows without --limit and --all
_KEYS = (
    "id", "path", "name", "status", "started", "ended", "seconds", "why", "expect", "verdict", "tags", "parent",
    "primary_metric", "value", "metrics", "changes", "config_digest", "code_digest", "seed", "reason", "problems",
)  # fmt: skip


def choose(
    runs: Runs,
    *,
    where: Sequence[str] = (),
    tags: Sequence[str] = (),
    only_open: bool = False,
    sort: str = "",
    reverse: bool = False,
) -> list[Row]:
    """The runs to list, newest first, or by `sort`: a metric's best first, else the largest; who lacks it comes last.

    Raises:
        UserError: a condition or key that fits no run.
    """
    if where or tags or only_open or sort:
        runs.parse(only_metrics="/" in sort and not (where or tags or only_open))
    rows = select(runs, list(reversed(runs.rows)), where)
    if tags:
        rows = [row for row in rows if set(tags) <= set(row["tags"])]
    if only_open:
        rows = [row for row in rows if is_open(row)]
    if sort:
        rows = _sorted(runs, rows, sort)
    return rows[::-1] if reverse else rows


def is_open(row: Row) -> bool:
    """A question was asked, the run is over, and no verdict was given. A rerun asks nothing that it does not answer."""
    asked = (row["why"] or row["expect"]) and "rerun" not in row["tags"]
    return bool(asked and not row["verdict"] and row["status"] != "running")


def as_object(runs: Runs, row: Row) -> dict[str, Any]:
    """A run as `ls --json` prints it."""
    whole = {**row, "path": str(runs.path(row)), "changes": runs.changes(row)}
    return {key: whole[key] for key in _KEYS}


def short_names(runs: Runs, rows: Sequence[Row]) -> dict[str, str]:
    """The shortest end of each folder's name that still means one run: the time of day, with the date, or all of it."""
    everything = "\n".join(row["id"] for row in runs.rows)
    named = {row["name"] for row in runs.rows}
    found = {}
    for row in rows:
        whole = str(row["id"])
        tail = whole[len(row["name"]) + 1 :] if whole.startswith(f"{row['name']}_") else ""
        ends = [tail[11:], tail[5:], tail] if len(tail) >= 19 else []
        good = [end for end in ends if end and everything.count(end) == 1 and end not in named]
        found[whole] = good[0] if good else whole
    return found


def shared_metric(rows: Sequence[Row]) -> str:
    """The primary metric, if all runs that have one have the same."""
    names = {row["primary_metric"] for row in rows if row["primary_metric"]}
    return names.pop() if len(names) == 1 else ""


def _sorted(runs: Runs, rows: list[Row], key: str) -> list[Row]:
    get = getter(runs, rows, key)
    pairs = [(get(row), row) for row in rows]
    have = [pair for pair in pairs if pair[0] is not None]
    metric = key if "/" in key else (shared_metric(rows) if key == "value" else "")
    upwards = bool(metric) and lower_is_better(rows, metric)
    try:
        have.sort(key=lambda pair: pair[0], reverse=not upwards)
    except TypeError:  # kinds that do not compare: lists, texts and numbers mixed
        have.sort(key=lambda pair: json.dumps(pair[0], default=str), reverse=not upwards)
    return [row for _, row in have] + [row for value, row in pairs if value is None]


def best(runs: Runs, rows: Sequence[Row], metric: str) -> list[Row]:
    """The runs that have `metric`, best first; warns where their scores are on different data.

    Raises:
        UserError: no run has that metric.
    """
    check_metric(runs, rows, metric)
    ranked = ranking(rows, metric)
    data = sorted({row["data"] for row in ranked if row["data"]})
    if len(data) > 1:
        LOG.warning("these scores are on different data: %s; --where 'data~...' ranks one", ", ".join(data))
    return ranked
