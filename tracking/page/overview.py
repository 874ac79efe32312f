"""What the page knows of every run before one is chosen: a small object each, of which the config is what is unusual."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tracking.judging import claim
from tracking.judging.groups import key_of
from tracking.page.run_data import ODD, code_key, name_of
from tracking.page.text import as_url
from tracking.reading.configs import BOOKKEEPING
from tracking.reading.index import Runs
from tracking.reading.lookup import lower_is_better
from tracking.reading.summary import Row, metric_names

_TEXTS = (
    "why", "expect", "verdict", "reason", "parent", "data", "ended", "host", "primary_metric", "config_digest", "code_digest",
    "resumed_with", "other_code", "problems",
)  # fmt: skip


def overview(runs: Runs, rows: Sequence[Row]) -> dict[str, Any]:
    """All that the table, the lineage and the parallel coordinates need.

    Returns:
        `metrics` (names) and `lower` (those of which less is better); `common` {KEY: the value most runs have}; `runs`,
        oldest first, each with `scores` {number of the metric: [last, best, best step]}, `config` {KEY: value} where it
        differs from `common`, `without` (keys of `common` that it lacks; `bare`: all of them), `changes` {KEY: [parent's,
        own]}, `group` (equal numbers are repeats of one experiment), `twin` (the run whose seed and score it has again),
        `file` (the name under which its curves lie) and `address` (its folder's as a URL, where the name alone does not say).
    """
    runs.parse()
    runs.load_configs(row["id"] for row in runs.rows)
    names = metric_names(rows)
    common = _common([runs.config(row["id"]) for row in rows])
    groups: dict[Any, int] = {}
    firsts: dict[Any, str] = {}
    pools: dict[str, Any] = {}
    made = []
    numbers = {name: number for number, name in enumerate(names)}
    for row in rows:
        one = _facts(row, numbers)
        try:
            one |= _config(runs, row, common) | _judged(runs, row, pools)
        except ODD as error:  # one odd record must not keep the others from being seen
            one["problems"] = [*row["problems"], f"{runs.path(row)}: {type(error).__name__}: {str(error)[:200]}"]
        key = key_of(row)
        if key is not None:
            one["group"] = groups.setdefault(key, len(groups))
            first = firsts.setdefault((key, str(row["seed"]), row["value"]), row["id"])
            one |= {"twin": first} if first != row["id"] and row["seed"] is not None else {}
        made.append({key: value for key, value in one.items() if value not in ("", [], {})})
    lower = [name for name in names if lower_is_better(rows, name)]
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"made": now, "folder": str(runs.folder), "metrics": names, "lower": lower, "common": common, "runs": made}


def _facts(row: Row, numbers: dict[str, int]) -> dict[str, Any]:
    """What the row itself says."""
    one = {key: row[key] for key in _TEXTS if row[key]}
    one |= {key: row[key] for key in ("id", "name", "status", "started", "seconds", "seed") if row[key] is not None}
    one |= {"tags": row["tags"], "git": row["git"], "file": name_of(row["id"])}
    if any("\ud800" <= letter <= "\udfff" for letter in row["id"]):  # which JavaScript cannot turn into an address
        one["address"] = as_url(row["id"])
    one["scores"] = {numbers[name]: [e["last"], e["best"], e["best_step"]] for name, e in row["metrics"].items()}
    return one


def _config(runs: Runs, row: Row, common: dict[str, Any]) -> dict[str, Any]:
    """What is unusual in the run's config and what its parent had otherwise."""
    own = runs.config(row["id"])
    one: dict[str, Any] = {"without": [key for key in common if key not in own]} if own else {"bare": True}
    one["config"] = {key: v for key, v in own.items() if key not in BOOKKEEPING and (key not in common or common[key] != v)}
    one["changes"] = runs.changes(row)
    parent = runs.by_id.get(row["parent"])
    if parent is not None and parent["code_digest"] != row["code_digest"]:
        one["code_changed"] = True
    return one | {"code": code_key(runs, row)}


def _judged(runs: Runs, row: Row, pools: dict[str, Any]) -> dict[str, Any]:
    judged = claim.judge(runs, row, pools) if row["expect"] else None
    return {"proposal": judged["proposal"], "held": judged["held"]} if judged else {}


def _common(configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each key the value that most runs have; values are told apart as text, since lists cannot be counted."""
    counts: dict[str, dict[str, int]] = {}
    firsts: dict[tuple[str, str], Any] = {}
    for config in configs:
        for key, value in config.items():
            text = repr(value)
            count = counts.setdefault(key, {})
            if text not in count:
                count[text] = 0
                firsts[key, text] = value
            count[text] += 1
    usual = {key: firsts[key, max(count, key=count.__getitem__)] for key, count in counts.items() if key not in BOOKKEEPING}
    return dict(sorted(usual.items()))
