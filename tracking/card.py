"""The run card: what is run, and what differs from the parent. The first screen of a run, and of its log."""

from __future__ import annotations

import io
import json
from typing import Any

from tracking import environment, snapshot
from tracking.record import Record
from tracking.resolve import read_config, same
from tracking.run import Run

_IGNORED = {"NAME", "OUTPUT_DIR"}  # differ in every run


def run_card(run: Run, parent: Record | None, guess: bool, facts: list[tuple[str, str]], width: int = 100) -> str:
    """The card as text of at most `width` columns.

    Args:
        guess: the parent was not named and has another name: said on the card.
        facts: further rows, such as batch arithmetic and data sizes.
    """
    record = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    rows = [("why", record["why"] or "(not given; --why says what a run is meant to find out)")]
    if record["expect"]:
        rows.append(("expected", record["expect"]))
    rows += facts
    skipped = record["code_skipped"]
    if skipped:
        rows.append(("not copied", ", ".join(f"{name} ({reason})" for name, reason in list(skipped.items())[:5])))
    if parent is None:
        rows.append(("parent", "none: the first run to compare others with"))
    else:
        rows.append(("parent", parent.id + (" (a guess: the most similar config; --parent names another)" if guess else "")))
        rows += _differences(run, record, parent)
    return _draw(record["id"], rows, width)


def _differences(run: Run, record: dict[str, Any], parent: Record) -> list[tuple[str, str]]:
    rows = [("config", line) for line in config_changes(run, record, parent)] or [("config", "no key differs")]
    rows += [("code", line) for line in code_changes(run, parent)] or [("code", "equal")]
    old, new = parent.run.get("environment", {}).get("packages", {}), environment.packages()
    changed = [f"{n} {old.get(n, '-')} -> {new.get(n, '-')}" for n in sorted({*old, *new}) if old.get(n) != new.get(n)]
    if changed:
        rows.append(("packages", ", ".join(changed[:8]) + (f" and {len(changed) - 8} more" if len(changed) > 8 else "")))
    return rows


def config_changes(run: Run, record: dict[str, Any], parent: Record) -> list[str]:
    """`KEY: old (origin) -> new (origin)` for each key that differs."""
    old, new = read_config(parent.path), read_config(run.path)
    origins = (parent.run.get("origins", {}), record["origins"])
    lines = []
    for key in sorted({*old, *new} - _IGNORED):
        if not same(old.get(key), new.get(key)):
            before, after = (
                f"{side.get(key, '-')} ({o.get(key, 'unknown')})" for side, o in zip((old, new), origins, strict=True)
            )
            lines.append(f"{key}: {before} -> {after}")
    return lines


def code_changes(run: Run, parent: Record) -> list[str]:
    """`file +added -removed` for each file of the copies that differs."""
    import difflib

    old = snapshot.read_checksums(parent.path / "scripts.sha256")
    new = snapshot.read_checksums(run.path / "scripts.sha256")
    lines = []
    for name in sorted(sum(snapshot.compare(old, new).values(), [])):
        texts: list[list[str]] = []
        for folder in (parent.path, run.path):
            try:
                texts.append((folder / "scripts" / name).read_text(encoding="utf-8").splitlines())
            except (OSError, UnicodeDecodeError):
                texts.append([])
        diff = list(difflib.unified_diff(texts[0], texts[1], lineterm="", n=0))[2:]
        added, removed = (sum(line.startswith(sign) for line in diff) for sign in "+-")
        lines.append(f"{name} +{added} -{removed}")
    return lines if len(lines) <= 12 else [*lines[:12], f"and {len(lines) - 12} more files"]


def _draw(title: str, rows: list[tuple[str, str]], width: int) -> str:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    last = ""
    for label, value in rows:
        table.add_row(Text(label if label != last else "", style="bold"), Text(value))
        last = label
    screen = Console(file=io.StringIO(), width=width, color_system=None)
    screen.print(Panel(table, title=title, title_align="left"))
    text = screen.file
    assert isinstance(text, io.StringIO)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
