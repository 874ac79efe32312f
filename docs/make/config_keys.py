"""docs/reference/config.md: every key of config/defaults.py, as its comment says."""

from __future__ import annotations

import re

from config.defaults import CHOICES, DEFAULT_RANGE, RANGES, get_defaults
from config.dump import comments, one_line
from docs.make.markdown import cell, code, head

INTRODUCTION = """Each key can stand in a YAML (`SOLVER: {BASE_LR: 0.1}`) and, as `SOLVER.BASE_LR 0.1`, on any command line
that trains. A key that does not exist, a value of another type or out of its range is one line with the file, the line and
the nearest key, before anything else happens. `python tools/train_net.py --explain SOLVER.BASE_LR` prints what this page says
of a key, with the value that holds and who set it.

Unused means 0, an empty text or an empty list, never null. A *step* is an optimizer step."""

_RANGE = re.compile(r"^[<>=\d. to]+; ")  # at the head of a comment; it has a column of its own

SECTIONS = {
    "": "The run",
    "MODEL": "MODEL: the network",
    "LOSS": "LOSS: what is made small",
    "INPUT": "INPUT: images and their augmentation",
    "DATASETS": "DATASETS: what is trained on, validated and tested",
    "DATALOADER": "DATALOADER: from the data set to batches",
    "SOLVER": "SOLVER: optimizer, schedule, length",
    "TEST": "TEST: evaluation",
    "DISTRIBUTED": "DISTRIBUTED: several ranks",
    "DISTILL": "DISTILL: learning from another run",
}


def page() -> str:
    """The whole page."""
    flat, meanings = get_defaults().flat(), comments()
    lines = head("Every key of the config", "the comments of config/defaults.py", INTRODUCTION)
    sections = list(dict.fromkeys(key.rpartition(".")[0] for key in flat))
    for section in sorted(sections, key=bool):  # the keys without a section first; else as in the file
        lines += [f"## {SECTIONS.get(section, section)}", ""]
        for key in flat:
            if key.rpartition(".")[0] == section:
                lines += _entry(key, flat[key], meanings.get(key, ""))
    return "\n".join(lines).rstrip() + "\n"


def _entry(key: str, default: object, comment: str) -> list[str]:
    """A heading, so that it can be searched for and linked to; the meaning; default and values."""
    meaning = cell(_RANGE.sub("", comment)).replace(">", "&gt;")  # at the head of a line it would quote
    standard = code(one_line(default)) if default != "" else "empty"
    return [f"#### {key}", "", f"{meaning}<br>", f"default {standard}; {allowed(key, default)}", ""]


def allowed(key: str, default: object) -> str:
    """What may stand there: the choices, the range, or the kind of value."""
    if key in CHOICES:
        return ", ".join(code(choice) or "empty" for choice in CHOICES[key])
    if isinstance(default, bool):
        return "`true`, `false`"
    if isinstance(default, int | float):
        least, greatest = RANGES.get(key, DEFAULT_RANGE)
        kind = "whole number" if isinstance(default, int) else "number"
        low = f"> {least[1:]}" if isinstance(least, str) else f">= {least:g}"
        if greatest >= 1e5:
            return f"{kind}, {low}"
        return f"{kind}, {low}, <= {greatest:g}" if isinstance(least, str) else f"{kind}, {least:g} to {greatest:g}"
    return {"str": "text", "tuple": "list", "list": "list"}.get(type(default).__name__, "mapping")
