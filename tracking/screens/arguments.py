"""The command line of `exp.py`: its commands and their flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.arguments import Parser
from utils.errors import UserError

_Argument = tuple[tuple[str, ...], dict[str, Any]]


def parse_arguments(argv: Sequence[str], text: str) -> argparse.Namespace:
    """The command and its flags.

    Raises:
        UserError: anything that does not fit.
    """
    return make_parser(text).parse_args(_common_flags_behind_command(argv))


def make_parser(text: str) -> argparse.ArgumentParser:
    """All commands with their flags; `text` is the tool's own description."""
    parser = Parser(prog="exp.py", description=text)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    def add(name: str, *arguments: _Argument, help: str) -> None:
        sub = commands.add_parser(name, help=help, description=help)
        for names, options in arguments:
            sub.add_argument(*names, **options)
        sub.add_argument("--json", action="store_true", help="print JSON to stdout and nothing else")
        sub.add_argument("--output-dir", "--output_dir", default="exp", metavar="DIR", help="the folder of the runs (exp)")

    _reading(add)
    _changing(add)
    return parser


def _argument(*names: str, **options: Any) -> _Argument:
    return names, options


_RUN = _argument("run", metavar="RUN", help="a folder, a name, a part of one, last, last~2, best:METRIC, or RUN^")
_SOME = _argument("runs", metavar="RUN", nargs="*")
_METRIC = _argument("metric", metavar="METRIC")
_TEXT = _argument("text", metavar="TEXT", nargs="+")
_TAGS = _argument("tags", metavar="TAG", nargs="+")
_YES = _argument("--yes", action="store_true", help="do it, do not only show what it would do")
_WHERE = _argument(
    "--where",
    action="append",
    default=[],
    metavar="KEY OP VALUE",
    help="such as 'SOLVER.BASE_LR<0.1' or 'why~text'; repeatable",
)


def _reading(add: Callable[..., None]) -> None:
    limit = _argument("--limit", type=_count, metavar="N", help="at most N rows")
    add(
        "ls",
        _WHERE,
        _argument("--tag", action="append", default=[], metavar="TAG", help="only runs with this tag"),
        limit,
        _argument("--all", action="store_true", help="all rows, not one page of them"),
        _argument("--sort", default="", metavar="KEY", help="by a metric (best first), a config key or a field"),
        _argument("--reverse", action="store_true", help="the other way round"),
        _argument("--open", action="store_true", dest="only_open", help="questions that have no verdict yet"),
        help="what each run was for, what it changed, what came of it",
    )
    add("show", _RUN, help="one run on one screen")
    lines = _argument("-n", "--lines", type=_count, default=20, metavar="N", help="how many of the last lines (20)")
    add("tail", _RUN, lines, help="a run's log, followed while it runs")
    second = _argument("other", metavar="B", nargs="?", default="", help="default: A's parent; . is the working tree")
    add("diff", _argument("run", metavar="A"), second, help="what differs: config, code, environment, metrics")
    metric = _argument("metric", metavar="METRIC", nargs="?", default="", help="default: the primary metric")
    against = _argument("--against", default="", metavar="RUN", help="compare with this run's group (default: the parent's)")
    across = _argument("--across", default="", metavar="KEY", help="pool runs that differ in this key, such as DATASETS.TRAIN")
    add("groups", metric, _WHERE, against, across, help="repeats pooled: is a difference more than noise?")
    add("best", _METRIC, _WHERE, limit, help="the ranking")
    add("blame", _METRIC, _RUN, help="which ancestor, and which keys and files, moved a metric")
    file = _argument("--file", default="", metavar="FILE", help="write there, not to stdout")
    curves = _argument("--curves", action="store_true", help="one row a logged value, not one a run")
    add("export", file, curves, _WHERE, help="CSV for pandas")
    to = _argument(
        "-o", "--output", dest="to", default="", metavar="DIR", help="where the page goes (.report in the folder of the runs)"
    )
    add("report", _SOME, to, _WHERE, help="a page of all runs, or of those named, that opens without server or network")
    port = _argument("--port", type=_count, default=8765, metavar="N", help="of this machine (8765); 0 takes a free one")
    add("serve", _SOME, port, _WHERE, help="the same page at 127.0.0.1, following runs that are going")


def _changing(add: Callable[..., None]) -> None:
    add("note", _RUN, _TEXT, help="append a line to a run's notes")
    add("verdict", _RUN, _TEXT, help="say what came of a run")
    add("tag", _RUN, _TAGS, help="add tags")
    add("untag", _RUN, _TAGS, help="take tags away")
    add(
        "restore",
        _RUN,
        _argument("destination", metavar="DEST"),
        help="a run's code, verified, and its config, into a new folder",
    )
    overrides = _argument("overrides", metavar="KEY VALUE", nargs="*")
    add("rerun", _RUN, overrides, help="run it again with its own code; 1 if the metrics do not come out equal")
    dry = _argument("--dry-run", "--dry_run", action="store_true", help="only show the bytes")
    empty = _argument("--empty-trash", "--empty_trash", action="store_true", help="delete what was removed before, for good")
    add("rm", _SOME, _YES, dry, empty, help="move runs to the trash")
    add("prune", _SOME, _WHERE, _YES, dry, help="drop weights but best, last and parents'; records, curves and code stay")
    add("undo", help="take back the newest rm or prune")
    notes = _argument("--notes", default="", metavar="CSV", help="notes on the old folders: folder,why,verdict,tags,...")
    add("adopt", _argument("old", metavar="DIR", type=Path), notes, help="make records of old experiment folders")
    add("reindex", help="read all records anew")
    add("completion", _argument("shell", choices=("bash", "zsh")), help="a completion script: eval it in the shell")


def _common_flags_behind_command(argv: Sequence[str]) -> list[str]:
    """--json and --output-dir may stand anywhere; argparse would not find them among words that repeat."""
    flags: list[str] = []
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        if word == "--json" or word.startswith(("--output-dir=", "--output_dir=")):
            flags.append(word)
        elif word in ("--output-dir", "--output_dir"):
            value = next(rest, None)
            if value is None:
                raise UserError(f"{word} needs the folder of the runs")
            flags.append(f"{word}={value}")
        elif word == "--":
            words += [word, *rest]
        else:
            words.append(word)
    return [*words[:1], *flags, *words[1:]]


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a number from 0, got {text!r}")
    return int(text)
