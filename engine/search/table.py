"""The result of a sweep: its points, best first, with mean, spread and interval; what mattered; how to repeat the best."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.search.plan import Sweep
from engine.search.spec import Dimension, described
from tracking import snapshot, wording
from tracking.judging.noise import spread
from tracking.screens import tables

REASON = 48  # characters of one in the table; all of it stands in result.json


@dataclass
class Result:
    """What came of a sweep.

    Attributes:
        points: one object each, best first, then those without a score.
        importances: share of each key in how much the score varies, 0 to 1; empty where nothing can be said.
    """

    metric: str = ""
    lower: bool = False
    points: list[dict[str, Any]] = field(default_factory=list)
    importances: dict[str, float] = field(default_factory=dict)
    repeat: str = ""
    test: str = ""

    @property
    def best(self) -> dict[str, Any] | None:
        """The best point; None where none has finished."""
        return self.points[0] if self.points and self.points[0]["state"] == "finished" else None

    @property
    def open(self) -> int:
        """How many points have no end yet."""
        return sum(point["state"] == "open" for point in self.points)


def gather(sweep: Sweep, study: Any, dimensions: Sequence[Dimension]) -> Result:
    """Reads the study."""
    result = Result(points=[_point(trial, dimensions) for trial in study.get_trials(deepcopy=False)])
    scored = [run for point in result.points for run in point["runs"] if run["outcome"] == "finished"]
    if scored:
        result.metric, result.lower = scored[0]["metric"], scored[0]["lower"]
    sign = -1 if result.lower else 1
    result.points.sort(key=lambda p: (p["state"] != "finished", -sign * p["mean"] if p["mean"] is not None else 0, p["point"]))
    result.importances = _importances(study)
    if result.best is not None:
        best = max(result.best["runs"], key=lambda run: run["score"])
        words = sweep.repeat(result.best["params"], best["seed"], best["fold"])
        threads = f"OMP_NUM_THREADS={sweep.threads} " if sweep.threads else ""
        result.repeat = f"{threads}python {_tool(sweep, 'train_net.py')} {shlex.join(words)}"
        where = "" if sweep.folder == "exp" else f" --output-dir {shlex.quote(sweep.folder)}"
        result.test = f"python tools/test_net.py {best['run']}{where}"
    return result


def as_object(sweep: Sweep, result: Result, stopped: bool) -> dict[str, Any]:
    """What `--json` prints and `result.json` holds."""
    return {
        "name": sweep.name,
        "path": str(sweep.path),
        "search": sweep.search,
        "sampler": sweep.sampler,
        "pruner": sweep.pruner,
        "seeds": sweep.seeds,
        "folds": sweep.folds,
        "finished": not stopped and not result.open,
        "metric": result.metric,
        "lower_is_better": result.lower,
        "points": result.points,
        "best": result.best,
        "importances": result.importances,
        "repeat": result.repeat,
        "test": result.test,
    }


def show(sweep: Sweep, result: Result, pictures: Sequence[Path], limit: int = 30) -> None:
    """The table to stdout, and what stands below it."""
    screen = tables.console()
    repeats = len(sweep.runs()) > 1
    keys = list(sweep.search)
    short = _short(keys)
    spreads = ("n", "std", "95 % interval") if repeats else ()
    head = ("point", *(short[key] for key in keys), result.metric or "score", *spreads, "outcome")
    table = tables.table(*head, right=set(head) - {"outcome"}, flexible=("outcome",))
    for point in result.points[:limit]:
        cells = [str(point["point"]), *(_cell(point["params"].get(key)) for key in keys), wording.number(point["mean"])]
        cells += [str(point["n"]), wording.number(point["std"]), _interval(point["interval"])] if repeats else []
        style = "green" if point is result.best else "" if point["state"] == "finished" else "yellow"
        table.add_row(*(tables.text(cell, style) for cell in [*cells, _said(point, result)]))
    screen.print(table)
    more = len(result.points) - limit
    lines = [("", f"and {more} more points, in {sweep.path / 'result.json'}")] if more > 0 else []
    if result.importances:
        shares = ", ".join(f"{key} {share:.0%}" for key, share in result.importances.items())
        lines.append(("mattered", f"{shares}  (share of how much the score varies)"))
    lines += [("pictures", f"{', '.join(path.name for path in pictures)} in {sweep.path}")] if pictures else []
    lines += [("repeat", result.repeat), ("test", result.test)] if result.repeat else []
    screen.print()
    for label, text in lines:
        screen.print(f"{label:<9} {text}", soft_wrap=True)


def _point(trial: Any, dimensions: Sequence[Dimension]) -> dict[str, Any]:
    runs = trial.user_attrs.get("runs", [])
    finished = [run for run in runs if run["outcome"] == "finished"]
    bad = next((run for run in runs if run["outcome"] not in ("", "finished")), None)
    state = "open" if not trial.state.is_finished() else bad["outcome"] if bad else "finished"
    values = [run["value"] for run in finished]
    found = spread(values) if values else None
    return {
        "point": trial.number,
        "params": {dimension.key: trial.params.get(dimension.key) for dimension in dimensions},
        "state": state,
        "reason": bad["reason"] if bad else "",
        "n": len(values),
        "mean": found.mean if found else None,
        "std": found.std if found else None,
        "interval": list(found.interval) if found and found.interval else None,
        "values": values,
        "runs": runs,
    }


def _importances(study: Any) -> dict[str, float]:
    """Optuna's (fANOVA; Hutter et al. 2014); nothing where two points with unlike scores are missing."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    values = {trial.value for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"}
    if len(values) < 2:
        return {}
    try:
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    except (RuntimeError, ValueError):  # such as a single value of every key
        return {}
    return {key: round(float(share), 6) for key, share in found.items()}


def _tool(sweep: Sweep, name: str) -> str:
    """The tool of the working tree, if that is still the code of the sweep; else that of the sweep's copy."""
    root, code = Path(sweep.root), snapshot.read_checksums(sweep.path / "scripts.sha256")
    return str(sweep.path / "scripts" / "tools" / name) if snapshot.edited(root, code) else f"tools/{name}"


def _short(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, where that tells them apart."""
    lasts = [key.rpartition(".")[2] for key in keys]
    return {key: last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)}


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _interval(interval: list[float] | None) -> str:
    return "-" if interval is None else f"{wording.number(interval[0])} to {wording.number(interval[1])}"


def _said(point: dict[str, Any], result: Result) -> str:
    if point["state"] == "finished":
        return "best" if point is result.best else ""
    if not point["reason"] or point["state"] == "pruned":
        return str(point["state"])
    reason = point["reason"] if len(point["reason"]) <= REASON else f"{point['reason'][:REASON]}\u2026"
    return f"{point['state']}: {reason}"


def summary_line(sweep: Sweep, result: Result) -> str:
    """What a sweep came to, in a line."""
    states = [point["state"] for point in result.points]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    best = result.best
    found = f"; best {result.metric} {wording.number(best['mean'])} with {described(best['params']) or 'all'}" if best else ""
    return f"{sweep.name}: {len(states)} points ({counts}){found}"
