"""`exp.py ls`: what each run was for, what it changed from its parent, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tracking import claim, tables
from tracking.index import Runs
from tracking.lookup import lower_is_better, ranking
from tracking.query import getter, select
from tracking.summary import Row, value_of
from utils.errors import UserError
from utils.registry import nearest

if TYPE_CHECKING:
    from rich.console import Console

PAGE = 25  # rows without --limit and --all
KEYS_SHOWN = 6  # config keys of one run
WIDE = 120  # columns from which the reason has a column of its own
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
    """A question was asked, the run is over, and no verdict was given."""
    return bool((row["why"] or row["expect"]) and not row["verdict"] and row["status"] != "running")


def as_object(runs: Runs, row: Row) -> dict[str, Any]:
    """A run as `ls --json` prints it."""
    whole = {**row, "path": str(runs.path(row)), "changes": runs.changes(row)}
    return {key: whole[key] for key in _KEYS}


def print_table(runs: Runs, rows: Sequence[Row], screen: Console, proposals: bool = False) -> None:
    """One line for each run; on narrow terminals what changed and why stand below it.

    Args:
        proposals: behind the reason, what was expected and how the records judge it (for `--open`).
    """
    from rich.text import Text

    runs.load_configs([i for row in rows for i in (row["id"], row["parent"])])
    handles = short_names(runs, rows)
    metric = shared_metric(rows)
    score = metric or "score"
    head, right = ["run", "name", "status", "age", "time", score], ("age", "time", score)
    wide = screen.width >= WIDE
    lines = []
    for row in rows:
        cells = [
            Text(handles[row["id"]], style="bold"),
            tables.text(_shortened(row["name"], 28 if wide else 24)),
            Text(row["status"], style=tables.STYLES.get(row["status"], "")),
            Text(tables.age(row["started"])),
            Text(tables.duration(row["seconds"])),
            Text(tables.number(row["value"]) + ("" if metric else f" {row['primary_metric']}")),
        ]
        why = _why(row)
        if proposals and row["expect"]:
            why.append("  expected: " + tables.clean(row["expect"]), style="cyan")
            why.append("  " + (claim.judge(runs, row) or {}).get("proposal", ""), style="yellow")
        lines.append((cells, (_changed(runs, row), why)))
    if not wide:
        tables.stacked(screen, head, [(cells, (why, differs)) for cells, (differs, why) in lines], right)
        return
    made = tables.table(*head, "changed from parent", "why", right=right, flexible=("changed from parent", "why"))
    made.expand = True
    for column in made.columns[6:]:
        column.ratio = 1
    for cells, details in lines:
        made.add_row(*cells, *details)
    screen.print(made)


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
        have.sort(key=lambda pair: tables.value(pair[0]), reverse=not upwards)
    return [row for _, row in have] + [row for value, row in pairs if value is None]


def _changed(runs: Runs, row: Row) -> Any:
    """What differs from the parent: config, code, and what a resume changed."""
    from rich.text import Text

    if row["problems"]:
        return tables.text(row["problems"][0], style="red")
    pairs = runs.changes(row)
    if "SEED" in pairs:  # last: it is seldom what a run is about
        pairs["SEED"] = pairs.pop("SEED")
    words = tables.changed(pairs, KEYS_SHOWN)
    parent = runs.by_id.get(row["parent"])
    if parent is None:
        words = f"(parent {row['parent']} is not here)" if row["parent"] else "(no parent)"
    elif parent["code_digest"] != row["code_digest"]:
        words += (", " if words else "") + ("code" if row["code_digest"] else "code unknown")
    if parent is not None and not words:
        words = "(nothing)"
    if row["resumed_with"]:
        words += "; resumed with " + tables.changed(_as_pairs(row["resumed_with"]))
    return Text(tables.clean(words), style="dim")


def _as_pairs(content: dict[str, Any]) -> dict[str, list[Any]]:
    return {k: v if isinstance(v, list) and len(v) == 2 else [None, v] for k, v in content.items()}


def _why(row: Row) -> Any:
    from rich.text import Text

    line = Text(tables.clean(row["why"]))
    if row["tags"]:
        line.append(" " * bool(line) + tables.clean(" ".join(f"#{tag}" for tag in row["tags"])), style="magenta")
    if row["verdict"]:
        line.append(" " * bool(line) + "→ " + tables.clean(row["verdict"]), style="green")
    elif row["reason"] and row["status"] != "finished":
        line.append(" " * bool(line) + "× " + tables.clean(row["reason"]), style="red")
    return line


def _shortened(name: str, width: int) -> str:
    """The middle of a long name gives way: its end often tells runs apart."""
    return name if len(name) <= width else f"{name[: width // 2]}…{name[-(width - width // 2 - 1) :]}"


def best(runs: Runs, rows: Sequence[Row], metric: str) -> list[tuple[int, Row, float]]:
    """(place, run, value), best first.

    Raises:
        UserError: no run has that metric.
    """
    check_metric(rows, metric, runs.folder)
    return [(place, row, value_of(row, metric) or 0.0) for place, row in enumerate(ranking(rows, metric), start=1)]


def metric_names(rows: Sequence[Row]) -> list[str]:
    """All metric names that occur."""
    return sorted({name for row in rows for name in row["metrics"]})


def check_metric(rows: Sequence[Row], metric: str, folder: object) -> None:
    """Raises UserError, naming what there is, unless a run has `metric`."""
    known = metric_names(rows)
    if metric.removesuffix(".last") not in known:
        shown = f" (there are: {', '.join(known)})" if known else ""
        raise UserError(f"no run in {folder} has the metric {metric!r}{nearest(metric, known)}{shown}")
