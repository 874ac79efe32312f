"""Repeats of one experiment pooled, and what may be said of the difference between two experiments."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracking.judging.noise import Difference, Spread, difference, spread
from tracking.reading.configs import BOOKKEEPING
from tracking.reading.index import Runs
from tracking.reading.lookup import lower_is_better
from tracking.reading.summary import Row, value_of
from utils.errors import UserError
from utils.registry import nearest

Key = tuple[str, str]


@dataclass
class Group:
    """Finished runs of equal config (but for the seed) and equal code."""

    key: Key
    rows: list[Row] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What its runs are called, the newest first."""
        return ", ".join(dict.fromkeys(row["name"] for row in reversed(self.rows)))

    @property
    def data(self) -> str:
        """What they were trained and scored on."""
        return "; ".join(dict.fromkeys(row["data"] for row in self.rows))

    def spread(self) -> Spread:
        """Of its values."""
        return spread(self.values)


def key_of(row: Row) -> Key | None:
    """What repeats have in common; None for a run that is no repeat of anything."""
    return None if left_out(row) else (row["config_digest"], row["code_digest"])


def left_out(row: Row) -> str:
    """Why a run is never pooled, or ""."""
    if row["status"] != "finished":
        return f"it is {row['status']}"
    if set(row["resumed_with"]) - BOOKKEEPING:
        return "keys were changed when it was resumed"
    if row["other_code"]:
        return str(row["other_code"])
    return "" if row["config_digest"] and row["code_digest"] else "its config or code is unknown"


def pool(rows: Sequence[Row], metric: str) -> dict[Key, Group]:
    """Groups by (config_digest, code_digest) of the runs that have `metric` (empty: each run's primary metric).

    A run that repeats another's seed and comes out with its very value says nothing new of the noise: it counts once.
    """
    pooled: dict[Key, Group] = {}
    seen: set[tuple[Any, ...]] = set()
    for row in rows:
        key = key_of(row)
        value = value_of(row, metric or row["primary_metric"])
        if key is None or value is None:
            continue
        group = pooled.setdefault(key, Group(key))
        group.rows.append(row)
        twin = (key, str(row["seed"]), value)
        if row["seed"] is None or twin not in seen:
            group.values.append(value)
        seen.add(twin)
    return pooled


def report(runs: Runs, rows: Sequence[Row], metric: str, against: Row | None = None) -> list[dict[str, Any]]:
    """One object a group, best mean first, as `groups --json` prints them.

    Args:
        against: each group is compared with this run's; without it, with the group of its own runs' parent. Scores on other
            data are not compared: the verdict says so.
    """
    metric = metric or most_common_metric(rows)
    pooled = pool(rows, metric)
    lower = lower_is_better(rows, metric)
    everything = pool(runs.rows, metric)
    found = []
    for key, group in pooled.items():
        at = _other(runs, group, everything, against)
        other = everything.get(at) if at and at != key else None
        made = _as_object(group, metric, other, lower, other is None or _on_same_data(group, other, metric))
        twins = [twin for own, twin in everything.items() if own[0] == key[0] and own != key]
        made["data_changed"] = _data_changed(group, metric)
        made["same_config"] = [twin.rows[-1]["id"] for twin in twins]  # apart only because their code differs
        found.append(made)
    found.sort(key=lambda g: g["mean"], reverse=not lower)
    return found


def pass_over(runs: Runs, key: str, ignored: Collection[str]) -> None:
    """From now on runs that differ in `key` alone are repeats of one experiment: those on the splits of a data set, where
    `key` is DATASETS.TRAIN. They keep apart as repeats do that differ in their seed.

    Args:
        key: "" leaves all as it is.
        ignored: the keys that make no other experiment anyway.

    Raises:
        UserError: no run has such a key.
    """
    if not key:
        return
    runs.parse()
    runs.load_configs(runs.by_id)
    known = {name for row in runs.rows for name in runs.config(row["id"])}
    if key not in known:
        raise UserError(f"--across {key}: no run has such a config key{nearest(key, sorted(known))}")
    for row in runs.rows:
        config = runs.config(row["id"])
        rest = {name: value for name, value in config.items() if name not in ignored and name != key}
        text = json.dumps(rest, sort_keys=True, default=str)
        row["config_digest"] = hashlib.sha256(text.encode()).hexdigest()[:16]
        row["seed"] = f"{row['seed']} {config.get(key)}"


def reasons_left_out(rows: Sequence[Row]) -> dict[str, int]:
    """Reason -> how many finished runs are in no group because of it."""
    reasons = [left_out(row) for row in rows if row["status"] == "finished"]
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons) if reason}


def most_common_metric(rows: Sequence[Row]) -> str:
    """The primary metric that most runs have; "" where none has any."""
    names = [row["primary_metric"] for row in rows if row["primary_metric"]]
    return max(dict.fromkeys(names), key=names.count) if names else ""


def other_data(a: Row, b: Row, metric: str) -> bool:
    """Whether `metric` ("test/top1") of the two was measured on different data; data that nobody knows differ from none."""
    split = metric.partition("/")[0]
    digests = [row["data_digests"].get(split, "") for row in (a, b)]
    if all(digests):
        return digests[0] != digests[1]
    return a["data"] != b["data"] and bool(a["data"] and b["data"])


def other_words(row: Row, other: Row) -> str:
    """The data of `other`, of which it is known that they are not those of `row`."""
    return f"other {'samples' if other['data'] == row['data'] else 'data'} ({other['data']})"


def _on_same_data(a: Group, b: Group, metric: str) -> bool:
    """Whether any two of their runs were: repeats over the splits of a data set are each on another."""
    return any(not other_data(one, two, metric) for one in a.rows for two in b.rows)


def _data_changed(group: Group, metric: str) -> bool:
    """Whether some of its runs were measured on other samples under the same name."""
    split = metric.partition("/")[0]
    seen = {(row["data"], row["data_digests"][split]) for row in group.rows if row["data_digests"].get(split)}
    return len(seen) > len({name for name, _ in seen})


def verdict(gap: Difference | None, lower: bool) -> str:
    """The difference in plain words."""
    if gap is None:
        return ""
    if gap.interval is None:
        return "cannot tell: there are no repeats that differ (run other seeds)"
    if gap.is_noise:
        return "no more than noise" + (", as far as one side's repeats tell" if gap.assumed else "")
    better = (gap.value < 0) == lower
    return f"{'better' if better else 'worse'}, more than noise" + (
        ", if the single run's noise is like the other's" if gap.assumed else ""
    )


def _other(runs: Runs, group: Group, pooled: dict[Key, Group], against: Row | None) -> Key | None:
    if against is not None:
        return key_of(against)
    for row in group.rows:
        parent = runs.by_id.get(row["parent"])
        key = key_of(parent) if parent and parent["data"] == row["data"] else None  # scores on other data are others
        if key and key != group.key and key in pooled:
            return key
    return None


def _as_object(group: Group, metric: str, other: Group | None, lower: bool, same_data: bool) -> dict[str, Any]:
    own = group.spread()
    gap = difference(own, other.spread()) if other and same_data else None
    said = verdict(gap, lower)
    if other is not None and not same_data:
        said = f"cannot tell: {metric} is on {other_words(group.rows[-1], other.rows[-1])}"
    return {
        "name": group.name,
        "data": group.data,
        "config_digest": group.key[0],
        "code_digest": group.key[1],
        "runs": [row["id"] for row in group.rows],
        "seeds": [row["seed"] for row in group.rows],
        "metric": metric,
        "n": own.n,
        "mean": own.mean,
        "std": own.std,
        "interval": list(own.interval) if own.interval else None,
        "values": group.values,
        "against": other.rows[-1]["id"] if other else None,
        "against_n": len(other.values) if other else None,
        "difference": gap.value if gap else None,
        "difference_interval": list(gap.interval) if gap and gap.interval else None,
        "verdict": said,
    }
