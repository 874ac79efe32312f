"""What a preflight found, as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "bold red"), "": ("", "")}


@dataclass(frozen=True)
class Finding:
    """One row.

    Attributes:
        what: what was looked at.
        verdict: "ok", "note" (worth knowing, nothing fails of it), "wrong" (the run would fail or be in vain), or ""
            for a plain fact.
        seen: what was found.
        remedy: what to do; only where there is something to do.
    """

    what: str
    verdict: str
    seen: str
    remedy: str = ""


def print_findings(findings: Sequence[Finding], console: Console | None = None) -> None:
    """The table, to stdout, as wide as the terminal; then one line that says how it stands."""
    console = console or Console()
    table = Table(show_header=False, expand=False, title="dry run", title_justify="left", padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    last, facts = "", True
    for finding in findings:
        if facts and finding.verdict:
            table.add_section()
            facts = False
        mark, style = MARKS[finding.verdict]
        seen = Text(finding.seen)
        if finding.remedy:
            seen.append(f"\n-> {finding.remedy}", style="bold")
        table.add_row(Text(finding.what if finding.what != last else "", style="bold"), Text(mark, style=style), seen)
        last = finding.what
    console.print(table)
    console.print(Text(summary(findings)), soft_wrap=True)


def summary(findings: Sequence[Finding]) -> str:
    """The last line."""
    wrong = list(dict.fromkeys(f.what for f in findings if f.verdict == "wrong"))
    notes = sum(f.verdict == "note" for f in findings)
    noted = f" ({notes} worth a look)" if notes else ""
    verdict = f"something is wrong with: {', '.join(wrong)}" if wrong else f"all is well{noted}"
    return f"dry run: {verdict}; nothing was written"


def duration(seconds: float) -> str:
    """`31 us`, `12 ms`, `1.3 s`, `42 s`, `3 min 5 s`, `5 h 12 min`, `3 d 4 h`."""
    if 0 < seconds < 0.0009995:
        return f"{seconds * 1e6:.3g} us"
    if 0 < seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, small, below in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"
