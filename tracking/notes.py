"""notes.md: what people say of a run. Edited through commands or by hand; what is not understood stays as it is."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from tracking.record import NOTES, notes_text, parse_notes
from tracking.summary import summarize
from utils.errors import UserError
from utils.files import write_atomic


def add_note(run: Path, text: str) -> None:
    """Appends a dated line under `# Notes`."""
    text = _some(text, "a note")
    old = _section(run, "Notes")
    _replace(run, "Notes", f"{old}\n{datetime.now():%Y-%m-%d %H:%M} {text}".strip())


def set_verdict(run: Path, text: str) -> None:
    """What came of the run; replaces an earlier verdict."""
    _replace(run, "Verdict", _some(text, "a verdict"))


def change_tags(run: Path, add: list[str], remove: list[str]) -> list[str]:
    """Adds and removes tags; the tags that the run has then.

    Raises:
        UserError: a tag that is no single word.
    """
    for tag in add:
        if not re.fullmatch(r"[^\s,#]+", tag):
            raise UserError(f"a tag is one word without commas or #, got {tag!r}")
    tags = [tag for tag in dict.fromkeys([*summarize(run)["tags"], *add]) if tag not in remove]
    _replace(run, "Tags", " ".join(tags))
    return tags


def _some(text: str, what: str) -> str:
    if not text.strip():
        raise UserError(f"{what} needs some text")
    # A line that looks like one of the headings would divide the file; indented it does not.
    return re.sub(rf"^(?=# (?:{'|'.join(NOTES)})[ \t]*$)", " ", text.strip(), flags=re.MULTILINE)


def _read(run: Path) -> str:
    try:
        return (run / "notes.md").read_text(encoding="utf-8")
    except FileNotFoundError:
        return notes_text("", "", [])
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{run / 'notes.md'}: cannot be read as UTF-8 text ({error})") from error


def _section(run: Path, heading: str) -> str:
    return parse_notes(_read(run)).get(heading, "")


def _replace(run: Path, heading: str, body: str) -> None:
    text = _read(run)
    parts = re.split(rf"^(# (?:{'|'.join(NOTES)})[ \t]*)$", text, flags=re.MULTILINE)
    for i in range(1, len(parts), 2):
        if parts[i].strip() == f"# {heading}":
            parts[i + 1] = f"\n{body}\n\n"
            break
    else:
        parts.append(f"\n# {heading}\n{body}\n")
    try:
        write_atomic(run / "notes.md", "".join(parts).rstrip("\n") + "\n")
    except OSError as error:
        raise UserError(f"{run / 'notes.md'}: cannot be written ({error.strerror})") from error
