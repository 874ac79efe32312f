"""The run card: what is run, and what differs from the parent. The first screen of a run, and of its log."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from tracking.judging.claim import parse as parse_claim
from tracking.reading import diff
from tracking.record import Record, read_record
from tracking.run import Run
from tracking.screens import tables


def run_card(run: Run, parent: Record | None, facts: list[tuple[str, str]], width: int) -> str:
    """The card as text of at most `width` columns.

    Args:
        facts: further rows, such as batch arithmetic and data sizes.
    """
    record = read_record(run.path).run
    rows = [("why", record["why"] or "(not given; --why says what a run is meant to find out)")]
    if record["expect"]:
        hint = " (free text; what can be checked is METRIC > NUMBER or METRIC > parent + NUMBER)"
        rows.append(("expected", record["expect"] + hint * (parse_claim(record["expect"]) is None)))
    rows += facts
    skipped = record["code_skipped"]
    if skipped:
        rows.append(("not copied", ", ".join(f"{name} ({reason})" for name, reason in list(skipped.items())[:5])))
    if parent is None:
        rows.append(("parent", "none: the first run to compare others with"))
    else:
        guess = " (a guess: the most similar config; --parent names another)" if record["parent_guess"] else ""
        rows.append(("parent", parent.id + guess))
        rows += _differences(run, record, parent)
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(tables.panel(record["id"], rows))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _differences(run: Run, record: dict[str, Any], parent: Record) -> list[tuple[str, str]]:
    rows = [("config", line) for line in _config(run, record, parent)] or [("config", "no key differs")]
    rows += [("code", line) for line in _code(run, parent)]
    packages = ({"packages": side.get("packages", {})} for side in (parent.run.get("environment", {}), record["environment"]))
    changed = [f"{name} {old or '-'} -> {new or '-'}" for name, (old, new) in diff.environment(*packages).items()]
    if changed:
        rows.append(("packages", ", ".join(changed[:8]) + (f" and {len(changed) - 8} more" if len(changed) > 8 else "")))
    return rows


def _config(run: Run, record: dict[str, Any], parent: Record) -> list[str]:
    """`KEY: old (origin) -> new (origin)` for each key that differs."""
    lines = []
    for key, (old, new) in diff.config(parent.path, run.path).items():
        before, after = (
            f"{'-' if value is None else value} ({origins.get(key, 'unknown')})"
            for value, origins in ((old, parent.run.get("origins", {})), (new, record["origins"]))
        )
        lines.append(f"{key}: {before} -> {after}")
    return lines


def _code(run: Run, parent: Record) -> list[str]:
    """`file +added -removed` for each file of the copies that differs."""
    codes = diff.code_between(parent.path, run.path)
    if codes is None:
        return ["unknown of the parent"]
    lines = [tables.line_count(*count) for count in diff.line_counts(*codes)]
    return [*lines[:12], f"and {len(lines) - 12} more files"] if len(lines) > 12 else lines or ["equal"]
