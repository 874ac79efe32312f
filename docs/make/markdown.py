"""A little Markdown: tables, code in cells, first sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

WRITTEN = "<!-- Written by `python -m docs.make`; change {source} instead. -->"


def head(title: str, source: str, text: str) -> list[str]:
    """The first lines of a page."""
    return [WRITTEN.format(source=source), "", f"# {title}", "", text, ""]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table and an empty line; nothing where there is no row."""
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    return [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *lines, ""] if lines else []


def code(text: str) -> str:
    """Code in a cell, or nothing. A bar would end the cell, in code too."""
    return f"`{text}`".replace("|", "\\|") if text else ""


def cell(text: str) -> str:
    """Text in a cell: one line, and nothing in it is Markdown or HTML but its code."""
    parts = " ".join(text.split()).split("`")
    for i, part in enumerate(parts):
        for sign in "|" if i % 2 else "\\|*_[":
            part = part.replace(sign, f"\\{sign}")
        parts[i] = part if i % 2 else part.replace("<", "&lt;")
    return "`".join(parts)


def first_sentence(docstring: str | None) -> str:
    """The first paragraph of a docstring, on one line, up to its first full stop that ends a sentence."""
    paragraph = " ".join((docstring or "").strip().partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".:")
