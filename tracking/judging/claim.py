"""`--expect`: free text, or a claim that can be checked against the noise of the repeats that exist."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tracking.judging.groups import Group, Key, key_of, other_data, other_words, pool
from tracking.judging.noise import difference, spread
from tracking.reading.index import Runs
from tracking.reading.summary import Row, value_of
from utils.full_width import as_ascii

_CLAIM = re.compile(
    r"\s*(?P<metric>[^\s<>=]+)\s*(?P<op><=|>=|<|>)\s*"
    r"(?:(?P<parent>parent)\s*(?:(?P<sign>[+-])\s*(?P<offset>[\d.eE-]+))?|(?P<number>[+-]?[\d.]+(?:[eE][+-]?\d+)?))\s*"
)

Pools = dict[str, dict[Key, Group]]


@dataclass(frozen=True)
class Claim:
    """`METRIC OP NUMBER`, or with `relative` `METRIC OP parent + NUMBER`."""

    metric: str
    operator: str
    number: float
    relative: bool


def parse(text: str) -> Claim | None:
    """The claim, or None for free text, which only a person can judge."""
    match = _CLAIM.fullmatch(as_ascii(text))
    if not match:
        return None
    try:
        number = float(match["number"] or match["offset"] or 0.0)
    except ValueError:
        return None
    return Claim(match["metric"], match["op"], -number if match["sign"] == "-" else number, bool(match["parent"]))


def judge(runs: Runs, row: Row, pools: Pools | None = None) -> dict[str, Any] | None:
    """What the records say of a run's claim; None where there is no claim that can be checked.

    Args:
        pools: metric -> groups, filled on the way: who judges many runs pools them once.

    Returns:
        claim, value and target (None where they are missing), held (None: cannot be told), interval of value - target
        (None without repeats), and `proposal`, a verdict in words.
    """
    claim = parse(row["expect"])
    if claim is None:
        return None
    result: dict[str, Any] = {"claim": row["expect"], "value": None, "target": None, "held": None, "interval": None}
    value = value_of(row, claim.metric)
    if value is None:
        state = "not measured yet" if row["status"] == "running" else f"the run ({row['status']}) has no {claim.metric}"
        return result | {"proposal": f"cannot tell: {state}"}
    parent = baseline(runs, row) if claim.relative else None
    if claim.relative and (parent is None or value_of(parent, claim.metric) is None):
        missing = f"{parent['id']} has no {claim.metric}" if parent else "there is no parent to compare with"
        return result | {"value": value, "proposal": f"cannot tell: {missing}"}
    if parent is not None and other_data(row, parent, claim.metric):
        said = f"cannot tell: {claim.metric} of {parent['id']} is on {other_words(row, parent)}, not comparable"
        return result | {"value": value, "proposal": said}
    return result | _compare(runs, row, parent, claim, {} if pools is None else pools)


def baseline(runs: Runs, row: Row) -> Row | None:
    """The nearest ancestor that is no repeat of this run: the parent of the second seed is the first one, which says
    nothing of the idea; None where there is none."""
    key = key_of(row)
    return next((one for one in runs.ancestors(row) if key is None or key_of(one) != key), None)


def _compare(runs: Runs, row: Row, parent: Row | None, claim: Claim, pools: Pools) -> dict[str, Any]:
    if claim.metric not in pools:
        pools[claim.metric] = pool(runs.rows, claim.metric)
    pooled = pools[claim.metric]
    own = values_of(pooled, row, claim.metric)
    mine = spread(own)
    value, target = mine.mean, claim.number
    interval = None
    if parent is not None:
        theirs = spread(values_of(pooled, parent, claim.metric))
        target += theirs.mean
        gap = difference(mine, theirs).interval
        interval = (gap[0] - claim.number, gap[1] - claim.number) if gap else None
    elif mine.interval:
        interval = (mine.interval[0] - target, mine.interval[1] - target)
    held = {"<": value < target, "<=": value <= target, ">": value > target, ">=": value >= target}[claim.operator]
    certain = interval is not None and not interval[0] <= 0.0 <= interval[1]
    words = f"{claim.metric} {value:.4g} {'' if held else 'not '}{claim.operator} {target:.4g} ({value - target:+.2g})"
    if interval is None:
        words += "; without repeats that differ the noise is unknown"
    elif certain:
        words += "; more than noise"
    else:
        words += f"; but no more than noise (95 % interval {interval[0]:+.2g} to {interval[1]:+.2g})"
    proposal = f"{'held' if held else 'did not hold'}: {words}"
    return {"value": value, "target": target, "held": held, "interval": interval, "proposal": proposal}


def values_of(pooled: dict[Key, Group], row: Row, metric: str) -> list[float]:
    """Of the run's repeats, or of the run alone where it is left out of groups."""
    key = key_of(row)
    if key is not None and key in pooled:
        return pooled[key].values
    value = value_of(row, metric)
    assert value is not None
    return [value]
