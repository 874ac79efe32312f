"""notes.md: what people say of a run. Five headings divide it; whatever else stands there stays as it is."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from utils.errors import UserError
from utils.files import write_atomic

HEADINGS = ("Why", "Expected", "Verdict", "Tags", "Notes")
_COMMAS = ",\uff0c\u3001"  # ASCII's, the full-width one, the ideographic one
_DIVIDER = re.compile(rf"^# ({'|'.join(HEADINGS)})[ \t]*$", re.MULTILINE)


def parse_notes(text: str) -> dict[str, str]:
    """notes.md as heading -> text below it; of a heading that stands there twice, the first counts, as in editing."""
    parts = _DIVIDER.split(text)
    return {heading: body.strip() for heading, body in reversed(list(zip(parts[1::2], parts[2::2], strict=True)))}


def notes_text(why: str, expect: str, tags: Sequence[str], verdict: str = "", notes: str = "") -> str:
    """A new notes.md."""
    filled = (why, expect, verdict, " ".join(tags), notes)
    return "\n".join(f"# {heading}\n{_kept_apart(text)}\n" for heading, text in zip(HEADINGS, filled, strict=True))


def tags_in(text: str) -> list[str]:
    """What stands below `# Tags`, by spaces or commas, Chinese ones too; a heading of one's own ends it."""
    return re.sub(f"[{_COMMAS}]", " ", re.split(r"^#\s", text, flags=re.MULTILINE)[0]).split()


def check_tags(tags: Sequence[str]) -> None:
    """Raises UserError unless each is a word that can be written and found again."""
    for tag in tags:
        if not re.fullmatch(rf"[^\s{_COMMAS}#]+", tag):
            raise UserError(f"a tag is one word without commas or #, got {tag!r}")


def add_note(run: Path, text: str) -> None:
    """Appends a dated line under `# Notes`."""
    line = f"{datetime.now():%Y-%m-%d %H:%M} {_some(text, 'a note')}"
    with _editing(run) as sections:
        sections["Notes"] = f"{sections.get('Notes', '')}\n{line}".strip()


def set_verdict(run: Path, text: str) -> None:
    """What came of the run; replaces an earlier verdict."""
    with _editing(run) as sections:
        sections["Verdict"] = _some(text, "a verdict")


def change_tags(run: Path, add: Sequence[str], remove: Sequence[str], at_start: Sequence[str] = ()) -> list[str]:
    """Adds and removes tags; the tags that the run has then.

    Args:
        at_start: what run.json says, for notes that have lost their heading.

    Raises:
        UserError: a tag that is no single word.
    """
    check_tags(add)
    with _editing(run) as sections:
        known = tags_in(sections["Tags"]) if "Tags" in sections else at_start
        tags = [tag for tag in dict.fromkeys([*known, *add]) if tag not in remove]
        sections["Tags"] = " ".join(tags)
    return tags


def _some(text: str, what: str) -> str:
    if not text.strip():
        raise UserError(f"{what} needs some text")
    return text.strip()


def _kept_apart(text: str) -> str:
    """A line that looks like one of the headings would divide the file; indented it does not."""
    return _DIVIDER.sub(lambda match: f" {match[0]}", text)


@contextlib.contextmanager
def _editing(run: Path) -> Iterator[dict[str, str]]:
    """The sections, to be changed in place; those that were changed are written back when all went well.

    Two people (or scripts) who write at once wait for each other: nothing of either is lost.
    """
    path = run / "notes.md"
    with _locked(run):
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            text = notes_text("", "", [])
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as UTF-8 text ({error})") from error
        sections = parse_notes(text)
        before = dict(sections)
        yield sections
        for heading, body in sections.items():
            if body != before.get(heading):
                text = _replaced(text, heading, _kept_apart(body))
        try:
            write_atomic(path, text)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def _replaced(text: str, heading: str, body: str) -> str:
    parts = _DIVIDER.split(text)
    headings = parts[1::2]
    if heading not in headings:
        return f"{text.rstrip()}\n\n# {heading}\n{body}\n"
    parts[2 * headings.index(heading) + 2] = f"\n{body}\n\n"
    whole = parts[0] + "".join(f"# {name}{below}" for name, below in zip(headings, parts[2::2], strict=True))
    return whole.rstrip("\n") + "\n"


@contextlib.contextmanager
def _locked(run: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        folder = os.open(run, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{run}: cannot be opened ({error.strerror})") from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks: as if alone
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
