"""docs/reference/commands.md: the commands of tools/ and their flags, as their parsers know them."""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Iterator

from config.parsers import ANALYSES
from docs.make.markdown import cell, code, head, table

INTRODUCTION = """Every command has `--help`. Exit codes: 0 done; 1 the run failed; 2 wrong input, said in one line; 3 no usable
checkpoint; 75 stopped by a signal after saving, and resumable. Flags can be written with `_` for `-`, and none is abbreviated.
A RUN is a folder, a name (its newest run), a unique part of a folder's name, `last`, `last~2`, `best:METRIC`, or `RUN^` (its
parent). `KEY VALUE` pairs are [keys of the config](config.md), and win over flags."""

FIRST = ["train_net", "test_net", "exp"]  # what a reader looks for; the others follow by name


def page() -> str:
    """The whole page."""
    lines = head("Commands", "the parsers of the tools", INTRODUCTION)
    parsers = {file.removesuffix(".py"): parser for file, parser in importlib.import_module("_parsers").all_parsers().items()}
    for name in sorted(parsers, key=lambda n: (FIRST.index(n) if n in FIRST else len(FIRST), n)):
        lines += tool(name, parsers[name])
    return "\n".join(lines)


def tool(name: str, parser: argparse.ArgumentParser) -> list[str]:
    """One tool: what it says of itself, how it is called, its flags, and its commands where it has some."""
    first, _, rest = inspect.cleandoc(importlib.import_module(name).__doc__ or "").partition("\n")
    examples = [line.strip() for line in rest.splitlines() if line.startswith("    ")]
    lines = [f"## {name}.py", "", cell(first), "", *(["```text", *examples, "```", ""] if examples else [])]
    if name == "analyze":
        lines += table(("command", "what it shows"), [(code(command), cell(text)) for command, text in ANALYSES.items()])
    commands = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not commands:
        return [*lines, *table(("argument", "meaning"), list(arguments(parser)))]
    lines += ["Each has `--json` and `--output-dir DIR`, the folder of the runs (`exp`).", ""]
    for command, sub in commands[0].choices.items():
        rows = [row for row in arguments(sub) if not row[0].startswith(("`--json", "`--output-dir"))]
        lines += [f"### {name}.py {command}", "", cell(sub.description or ""), "", *table(("argument", "meaning"), rows)]
    return lines


def arguments(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """(what is typed, what it means) of each argument but --help, as cells."""
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
            continue
        spellings = [flag for flag in action.option_strings if "_" not in flag]
        value = action.metavar if isinstance(action.metavar, str) else "|".join(action.choices or ())
        takes = "" if action.nargs == 0 else f" {value or action.dest.upper()}" if spellings else ""
        typed = ", ".join(f"{flag}{takes}" for flag in spellings) or str(value or action.dest)
        more = " ..." if action.nargs in ("*", "+", argparse.REMAINDER) else ""
        meaning = (action.help or "").replace("%(default)s", str(action.default))
        choices = f" ({', '.join(map(str, action.choices))})" if action.choices and isinstance(action.metavar, str) else ""
        yield code(typed + more), cell(meaning + choices)
