"""What `exp.py` prints for people, one function a screen; `ls` and `show` have files of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from tracking import wording
from tracking.judging.blame import changed_words
from tracking.judging.groups import key_of, pool
from tracking.reading import diff, listing
from tracking.reading.diff import Code
from tracking.reading.index import Runs
from tracking.reading.lookup import lower_is_better
from tracking.reading.summary import Row, value_of
from tracking.screens import tables
from utils import files

_VERDICT_STYLES = {"better": "green", "worse": "red", "no more": "yellow", "cannot": "dim"}
_DIFF_STYLES = {"+++": "bold", "---": "bold", "@@": "cyan", "+": "green", "-": "red"}


def difference(
    a: str,
    b: str,
    found: dict[str, Any],
    origins: Sequence[dict[str, str]],
    codes: tuple[Code, Code] | None,
    as_parent: bool = False,
) -> None:
    """`diff`: each part only where something differs; code last, summed up and then line by line.

    Args:
        origins: of both sides, config key -> where its value came from.
        as_parent: b is a's parent; differences then say what a has over it, and + in code is what a added.
    """
    screen = tables.console()
    one, two = ("run", "parent") if as_parent else ("a", "b")
    screen.print(Text.assemble(f"{one:<7}", (a, "bold"), f"\n{two:<7}", (b, "bold"), "\n"), soft_wrap=True)
    sources = {"config": origins, "environment": [{}, {}]}
    for title, pairs in (("config", found["config"]), ("environment", found["environment"])):
        if pairs:
            made = tables.table(title, one, two, flexible=(one, two))
            for key, (old, new) in pairs.items():
                made.add_row(key, *(_sourced(v, s.get(key, "")) for v, s in zip((old, new), sources[title], strict=True)))
            screen.print(made)
            screen.print()
    if found["metrics"]:
        head = "run - parent" if as_parent else "b - a"
        made = tables.table("metric", one, two, head, right=(one, two, head))
        for name, (old, new) in found["metrics"].items():
            gap = None if old is None or new is None else old - new if as_parent else new - old
            made.add_row(name, wording.number(old), wording.number(new), wording.signed(gap))
        screen.print(made)
        screen.print()
    code_difference(codes)


def code_difference(codes: tuple[Code, Code] | None) -> None:
    """Files with their line counts, then the unified diff."""
    screen = tables.console()
    if codes is None:
        screen.print("code: unknown of one of them", style="dim")
        return
    counts = diff.line_counts(*codes)
    if not counts:
        screen.print("code: equal")
        return
    made = tables.table("code", "", "lines", flexible=("code",), right=("lines",))
    kinds = {name: kind for kind, names in diff.code(*codes).items() for name in names}
    for name, added, removed in counts:
        made.add_row(tables.text(name), kinds[name], f"+{added} -{removed}" if added >= 0 else "no text")
    screen.print(made)
    screen.print()
    for line in diff.unified(*codes):
        style = next((style for start, style in _DIFF_STYLES.items() if line.startswith(start)), "")
        screen.print(Text("".join(c if c.isprintable() or c == "\t" else "?" for c in line), style=style), soft_wrap=True)


def groups(runs: Runs, found: Sequence[dict[str, Any]]) -> None:
    """`groups`."""
    screen = tables.console()
    if not found:
        screen.print("no finished runs with a metric to pool")
        return
    handles = listing.short_names(
        runs, [runs.by_id[i] for g in found for i in (g["runs"][-1], g["against"], *g["same_config"]) if i]
    )
    metric, mixed = found[0]["metric"], len({group["data"] for group in found}) > 1
    rows = []
    for group in found:
        cells = [handles[group["runs"][-1]], group["name"], str(group["n"]), wording.number(group["mean"])]
        cells += [wording.number(group["std"]), _interval(group["interval"])]
        line = Text()
        if group["against"]:
            gap = "" if group["difference"] is None else f" {wording.signed(group['difference'])}"
            gap += _signed_interval(group["difference_interval"])
            line.append(f"against {handles[group['against']]} (n {group['against_n']}):{gap}{':' if gap else ''} ")
            style = next((s for start, s in _VERDICT_STYLES.items() if group["verdict"].startswith(start)), "")
            line.append(group["verdict"], style=style)
        twins = ", ".join(handles[twin] for twin in group["same_config"])
        apart = Text(f"the same config as {twins}, but other code (exp.py diff tells)" if twins else "", style="dim")
        data = tables.text(f"on {group['data'] or 'data that are not known'}" if mixed else "", style="dim")
        changed = "its runs saw other samples under one name: their spread is not chance alone" if group["data_changed"] else ""
        lines = [data, line, apart, Text(changed, style="yellow")]
        rows.append(([Text(cells[0], style="bold"), *map(tables.text, cells[1:])], lines))
    head = ("run", "name", "n", "mean " + metric, "std", "95 % interval")
    tables.stacked(screen, head, rows, right=("n", "mean " + metric, "std"))


def best(runs: Runs, ranked: Sequence[Row], metric: str) -> None:
    """`best`."""
    screen = tables.console()
    handles = listing.short_names(runs, ranked)
    made = tables.table("", "run", "name", metric, "n", "why", right=("", metric, "n"), flexible=("name", "why"))
    pooled = pool(runs.rows, metric)
    for place, row in enumerate(ranked, start=1):
        key = key_of(row)
        count, value = len(pooled[key].values) if key in pooled else 1, wording.number(value_of(row, metric))
        made.add_row(str(place), handles[row["id"]], row["name"], value, str(count), tables.text(row["why"]))
    screen.print(made)
    direction = "lower" if lower_is_better(runs.rows, metric) else "higher"
    screen.print(f"{direction} is better; n: runs of equal config and code (exp.py groups)", style="dim")


def blame(result: dict[str, Any]) -> None:
    """`blame`."""
    screen = tables.console()
    if result["steps"]:
        first = result["steps"][0]
        start = [first["parent"], wording.number(first["values"][0]), str(first["n"][0]), "", ""]
        rows: list[tuple[list[Text], list[Text]]] = [(list(map(Text, start)), [])]
        for step in result["steps"]:
            moved = "unknown" if step["interval"] is None else ("yes" if step["moved"] else "no")
            cells = [
                step["run"],
                wording.number(step["values"][1]),
                str(step["n"][1]),
                wording.signed(step["difference"]),
                moved,
            ]
            style = "bold red" if step["run"] == result["culprit"] else ""
            rows.append(([Text(cell, style=style) for cell in cells], [tables.text(changed_words(step), style="dim")]))
        head = ("run", result["metric"], "n", "difference", "beyond noise?")
        tables.stacked(screen, head, rows, right=head[1:4])
        screen.print()
    screen.print(tables.text(result["words"]), soft_wrap=True)


def rerun(result: dict[str, Any]) -> None:
    """`rerun`."""
    screen = tables.console()
    if result["equal"]:
        screen.print(f"{result['run']}: all metrics came out equal to {result['original']}, to the last bit", soft_wrap=True)
        return
    ended = "" if result["exit_code"] == 0 else f" (it ended with exit code {result['exit_code']})"
    screen.print(f"{result['run']} differs from {result['original']}{ended}", soft_wrap=True)
    for title in ("differences", "config", "environment"):
        pairs = result[title]
        if pairs:
            made = tables.table(
                {"differences": "metric"}.get(title, title), "original", "rerun", flexible=("original", "rerun")
            )
            for key, (old, new) in list(pairs.items())[:20]:
                made.add_row(key, *(wording.value(v) if not isinstance(v, float) else repr(v) for v in (old, new)))
            screen.print(made)
    if not result["environment"]:
        screen.print("environment: equal; DETERMINISTIC True makes CUDA runs repeatable", style="dim")


def removal(folder: Path, items: Sequence[Any], done: bool, what: str) -> None:
    """`rm` and `prune`."""
    screen = tables.console()
    if not items:
        screen.print(
            f"nothing to {what}: all weights left are best, last, or a parent's" if what == "prune" else "nothing to do"
        )
        return
    sums: dict[str, list[int]] = {}
    for item in items:
        entry = sums.setdefault(item.run, [0, 0])
        entry[0] += 1
        entry[1] += item.bytes
    made = tables.table(
        "run", "files" if what == "prune" else "folders", "bytes", right=("files", "folders", "bytes"), flexible=("run",)
    )
    for name, (count, size) in sums.items():
        made.add_row(name, str(count), files.size(size))
    screen.print(made)
    total = files.size(sum(item.bytes for item in items))
    if done:
        screen.print(
            f"\n{total} moved to {folder / '.trash'}; exp.py undo brings them back, rm --empty-trash frees the disk",
            soft_wrap=True,
        )
    else:
        how = "--yes does it" if what == "prune" else "it is done without --dry-run"
        screen.print(f"\n{total} would move to {folder / '.trash'}; nothing was done yet: {how}", soft_wrap=True)


def _sourced(value: Any, source: str) -> Text:
    return Text.assemble(wording.value(value), (f"  {wording.origin(source)}" if source else "", "dim"))


def _interval(pair: Sequence[float] | None) -> str:
    return f"{wording.number(pair[0])} to {wording.number(pair[1])}" if pair else "-"


def _signed_interval(pair: Sequence[float] | None) -> str:
    return f" ({wording.signed(pair[0])} to {wording.signed(pair[1])})" if pair else ""
