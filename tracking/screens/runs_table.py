"""`exp.py ls`: what each run was for, what it changed from its parent, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from tracking import wording
from tracking.judging import claim
from tracking.reading.index import Runs
from tracking.reading.listing import shared_metric, short_names
from tracking.reading.summary import Row
from tracking.screens import tables

KEYS_SHOWN = 6  # config keys of one run
REASON = 120  # characters of why a run ended; `show` has all
WIDE = 120  # columns from which the reason has a column of its own


def print_runs(runs: Runs, rows: Sequence[Row], total: int, only_open: bool = False) -> None:
    """The table, or that there is nothing for it.

    Args:
        total: how many runs there are of which `rows` are a page.
        only_open: they are open questions: what was expected and how the records judge it is told too.
    """
    screen = tables.console()
    if not total:
        which = "no open questions" if only_open and runs.rows else "no such runs" if runs.rows else "no runs"
        screen.print(f"{which} in {runs.folder}" + ("" if runs.rows else "; tools/train_net.py makes them"), soft_wrap=True)
        return
    _print_table(runs, rows, screen, proposals=only_open)
    if total > len(rows):
        screen.print(f"{len(rows)} of {total} runs; --all or --limit N shows more", style="dim", soft_wrap=True)


def _print_table(runs: Runs, rows: Sequence[Row], screen: Console, proposals: bool) -> None:
    """One line for each run; on narrow terminals what changed and why stand below it."""
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
            Text(wording.age(row["started"])),
            Text(wording.duration(row["seconds"])),
            Text(wording.number(row["value"]) + ("" if metric else f" {row['primary_metric']}")),
        ]
        why = _why(row)
        if proposals and row["expect"]:
            why.append("  expected: " + wording.clean(row["expect"]), style="cyan")
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


def _changed(runs: Runs, row: Row) -> Text:
    """What differs from the parent: config, code, and what a resume changed."""
    if row["problems"]:
        return tables.text(row["problems"][0], style="red")
    pairs = runs.changes(row)
    if "SEED" in pairs:  # last: it is seldom what a run is about
        pairs["SEED"] = pairs.pop("SEED")
    words = wording.changed(pairs, KEYS_SHOWN)
    parent = runs.by_id.get(row["parent"])
    if parent is None:
        words = f"(parent {row['parent']} is not here)" if row["parent"] else "(no parent)"
    elif parent["code_digest"] != row["code_digest"]:
        words += (", " if words else "") + ("code" if row["code_digest"] else "code unknown")
    if parent is not None and not words:
        words = "(nothing)"
    if row["resumed_with"]:
        words += "; resumed with " + wording.changed(row["resumed_with"])
    if row["other_code"]:
        words += f"; {row['other_code']}"
    return Text(wording.clean(words), style="dim")


def _why(row: Row) -> Text:
    line = Text(wording.clean(row["why"]))
    if row["tags"]:
        line.append(" " * bool(line) + wording.clean(" ".join(f"#{tag}" for tag in row["tags"])), style="magenta")
    if row["verdict"]:
        line.append(" " * bool(line) + "→ " + wording.clean(row["verdict"]), style="green")
    elif row["reason"] and row["status"] != "finished":
        line.append(" " * bool(line) + "× " + wording.clipped(row["reason"], REASON), style="red")
    return line


def _shortened(name: str, width: int) -> str:
    """The middle of a long name gives way: its end often tells runs apart."""
    return name if len(name) <= width else f"{name[: width // 2]}…{name[-(width - width // 2 - 1) :]}"
