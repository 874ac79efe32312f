"""Which ancestor of a run moved a metric beyond noise, and what was changed there."""

from __future__ import annotations

from typing import Any

from tracking import wording
from tracking.judging.claim import values_of
from tracking.judging.groups import Group, Key, key_of, pool, verdict
from tracking.judging.noise import Difference, Spread, difference, spread, t_quantile
from tracking.reading import diff
from tracking.reading.index import Runs
from tracking.reading.lookup import lower_is_better
from tracking.reading.summary import Row, metric_names, value_of
from utils.errors import UserError


def blame(runs: Runs, row: Row, metric: str) -> dict[str, Any]:
    """Walks from `row` up to the first ancestor and judges each step by the noise of the repeats that exist.

    A step is measured between the groups of both runs; where neither has repeats, by the noise of the other groups of the
    chain. Runs without the metric are stepped over.

    Returns:
        metric, run, steps (oldest first: run, parent, values, difference, interval, moved, verdict, config, code) and
        culprit: the id of the step that moved it most, beyond noise, or None; `words` says it in a sentence.

    Raises:
        UserError: the run has no such metric.
    """
    if value_of(row, metric) is None:
        known = ", ".join(metric_names([row])) or "none"
        raise UserError(f"{row['id']} has no metric {metric!r} (it has: {known})")
    chain = _chain(runs, row, metric)
    pooled = pool(runs.rows, metric)
    lower = lower_is_better(runs.rows, metric)
    usual = _usual_noise(pooled, chain)
    steps = [_step(runs, old, new, metric, pooled, usual, lower) for old, new in zip(chain, chain[1:], strict=False)]
    moved = [step for step in steps if step["moved"]]
    culprit = max(moved, key=lambda step: abs(step["difference"]), default=None)
    return {
        "metric": metric,
        "run": row["id"],
        "steps": steps,
        "culprit": culprit["run"] if culprit else None,
        "words": _words(metric, steps, culprit),
    }


def _chain(runs: Runs, row: Row, metric: str) -> list[Row]:
    """The run and its ancestors that have the metric, oldest first.

    Of repeats in a row only the newest stands for all: other seeds moved nothing.
    """
    chain = [row]
    for one in runs.ancestors(row):
        key = key_of(one)
        if value_of(one, metric) is not None and (key is None or key != key_of(chain[-1])):
            chain.append(one)
    return chain[::-1]


def _usual_noise(pooled: dict[Key, Group], chain: list[Row]) -> tuple[float, float] | None:
    """(standard deviation, degrees of freedom) over all repeats of the chain's runs, else of the same names, else None."""
    repeated = [group for group in pooled.values() if len(group.values) > 1]
    for key in ("id", "name"):
        of_chain = {row[key] for row in chain}
        spreads = [group.spread() for group in repeated if of_chain & {row[key] for row in group.rows}]
        freedom = sum(s.n - 1 for s in spreads)
        if freedom:
            return (sum((s.n - 1) * (s.std or 0.0) ** 2 for s in spreads) / freedom) ** 0.5, float(freedom)
    return None


def _step(
    runs: Runs, old: Row, new: Row, metric: str, pooled: dict[Key, Group], usual: tuple[float, float] | None, lower: bool
) -> dict[str, Any]:
    spreads = [spread(values_of(pooled, row, metric)) for row in (old, new)]
    gap = difference(spreads[1], spreads[0])
    if gap.interval is None and usual is not None:
        gap = _with(gap, spreads, usual)
    codes = diff.code_between(runs.path(old), runs.path(new))
    return {
        "run": new["id"],
        "parent": old["id"],
        "values": [spreads[0].mean, spreads[1].mean],
        "n": [spreads[0].n, spreads[1].n],
        "difference": gap.value,
        "interval": list(gap.interval) if gap.interval else None,
        "moved": gap.is_noise is False,
        "verdict": verdict(gap, lower),
        "config": runs.changes_between(old["id"], new["id"]),
        "code": diff.code(*codes) if codes else None,
    }


def _with(gap: Difference, spreads: list[Spread], usual: tuple[float, float]) -> Difference:
    half = t_quantile(0.975, usual[1]) * usual[0] * (1 / spreads[0].n + 1 / spreads[1].n) ** 0.5
    return Difference(gap.value, (gap.value - half, gap.value + half), True)


def changed_words(step: dict[str, Any]) -> str:
    """What a step changed, config keys and files, on one line."""
    code = step["code"] or {}
    files = [
        f"{sign}{name}" for kind, sign in (("added", "+"), ("removed", "-"), ("changed", "")) for name in code.get(kind, [])
    ]
    keys = {key: pair for key, pair in step["config"].items() if key != "SEED"}  # other seeds are what noise is made of
    words = [wording.changed(keys)] if keys else []
    if files:
        words.append(", ".join(files[:6]) + (f" and {len(files) - 6} more files" if len(files) > 6 else ""))
    words += ["code unknown"] if step["code"] is None else []
    return "; ".join(words) or "nothing that was recorded but the seed"


def _words(metric: str, steps: list[dict[str, Any]], culprit: dict[str, Any] | None) -> str:
    if not steps:
        return f"no ancestor has {metric}: nothing to compare with"
    if culprit:
        old, new = (wording.number(v) for v in culprit["values"])
        return f"{culprit['run']} moved {metric} from {old} to {new}: {changed_words(culprit)}"
    biggest = max(steps, key=lambda step: abs(step["difference"]))
    size = f"the largest step is {wording.signed(biggest['difference'])} at {biggest['run']} ({changed_words(biggest)})"
    if all(step["interval"] is None for step in steps):
        return f"cannot tell: no run of the chain was repeated, so the noise is unknown; {size}"
    return f"no step moved {metric} beyond noise; {size}"
