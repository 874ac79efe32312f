"""Tables for people: plain, aligned, and readable on narrow terminals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tracking.wording import clean

STYLES = {"finished": "green", "running": "cyan", "failed": "red", "lost": "red", "interrupted": "yellow", "broken": "red"}


def console() -> Console:
    """To stdout; as wide as the terminal, or as COLUMNS says."""
    return Console(highlight=False, markup=False, emoji=False)


def panel(title: str, rows: Iterable[tuple[str, str]], border_style: str = "") -> Panel:
    """A box of labels and texts; a label that repeats the one above it is shown once."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(overflow="fold", max_width=16)
    grid.add_column(overflow="fold")
    last = ""
    for label, content in rows:
        grid.add_row(Text(label if label != last else "", style="bold"), text(content))
        last = label
    return Panel(grid, title=Text(title), title_align="left", border_style=border_style)


def line_count(name: str, added: int, removed: int) -> str:
    """What `tracking.reading.diff.line_counts` says of a file."""
    return f"{name} +{added} -{removed}" if added >= 0 else f"{name} (no text)"


def table(*columns: str, right: Iterable[str] = (), flexible: Iterable[str] = ()) -> Table:
    """A plain table. Columns named in `flexible` share what is left and wrap; the others are never cut."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for name in columns:
        fixed = name not in flexible
        made.add_column(name, justify="right" if name in right else "left", no_wrap=fixed, overflow="fold")
    return made


def stacked(
    screen: Console, head: Sequence[str], rows: Sequence[tuple[Sequence[Text], Sequence[Text]]], right: Iterable[str] = ()
) -> None:
    """Rows of short cells in columns, each followed by indented lines that take the whole width: for narrow terminals.

    Args:
        rows: (cells, lines) each.
    """
    widths = [max([len(name), *(cells[i].cell_len for cells, _ in rows)]) for i, name in enumerate(head)]

    def line(cells: Sequence[Text]) -> Text:
        made = []
        for name, cell, width in zip(head, cells, widths, strict=True):
            gap = " " * (width - cell.cell_len)
            made.append(Text(gap) + cell if name in right else cell + Text(gap))
        return Text("  ").join(made)

    screen.print(line([Text(name, style="bold") for name in head]), no_wrap=True, overflow="ellipsis", crop=True)
    screen.print(Text("─" * min(screen.width, sum(widths) + 2 * len(widths) - 2)))
    for cells, lines in rows:
        screen.print(line(cells), no_wrap=True, overflow="ellipsis", crop=True)
        for detail in filter(None, lines):
            screen.print(Padding(detail, (0, 0, 0, 4), expand=False))


def text(value: Any, style: str = "") -> Text:
    """One line of printable characters: newlines and control characters never reach the terminal."""
    return Text(clean(value), style=style)
