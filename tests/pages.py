"""A documentation page as its blocks of code. tests/test_documents.py says what each kind means."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

SHOWN = {"text", "py", "yaml", "json", "toml", "markdown", "html", "make", "diff"}  # without a title: shown, never run
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
EXIT = re.compile(r"<!-- exit: (\d+) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: the line of its fence (from 1), its language, what it holds, and the line before it, for its comment."""

    line: int
    language: str
    title: str
    text: str
    comment: str

    @property
    def runs(self) -> bool:
        """Whether a reader who follows the page runs it."""
        return self.language == "bash" or (self.language == "python" and not self.title)

    @property
    def exit_code(self) -> int:
        """What its commands have to end with."""
        said = EXIT.fullmatch(self.comment)
        return int(said[1]) if said else 0

    def commands(self) -> list[tuple[int, str]]:
        """The commands of a `bash` block, each with its line; one goes on where a line ends in a backslash or an open quote."""
        found: list[tuple[int, str]] = []
        pending, start = "", 0
        for number, line in enumerate(self.text.splitlines(), self.line + 1):
            if not pending:
                start = number
            pending += line + "\n"
            if not _goes_on(pending):
                found.append((start, pending.rstrip("\n")))
                pending = ""
        if pending:
            found.append((start, pending))
        return [(number, command) for number, command in found if command.strip() and not command.lstrip().startswith("#")]

    def problem(self) -> str:
        """What is against the convention, or an empty string."""
        if not self.language:
            return "a block without a language: bash, python, yaml, text or sh"
        if self.language == "sh" and not NOT_RUN.fullmatch(self.comment):
            return "a sh block without <!-- not run: the reason --> on the line before it"
        if self.title and (Path(self.title).is_absolute() or ".." in Path(self.title).parts):
            return f"a file outside of the project: {self.title}"
        if not self.title and self.language not in SHOWN | {"bash", "sh", "python"}:
            return f"the language {self.language} without title=: use text for what is only shown"
        if self.language == "bash" and any(command.startswith("$") for _, command in self.commands()):
            return "a prompt in a bash block"
        return ""


def _goes_on(command: str) -> bool:
    """Whether the shell would wait for another line."""
    if command.rstrip("\n").endswith("\\"):
        return True
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return False


def blocks_of(page: Path) -> list[Block]:
    """All blocks of code of a page, indented ones too (they have no language), in order."""
    text = page.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type not in ("fence", "code_block") or token.map is None:
            continue
        first = token.map[0]
        language, _, rest = token.info.strip().partition(" ")
        title = re.search(r'title="([^"]*)"', rest)
        before = lines[first - 1].strip() if first else ""
        found.append(Block(first + 1, language, title[1] if title else "", token.content, before))
    return found
