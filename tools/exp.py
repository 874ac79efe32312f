"""Read the records of all runs, and act on them.

    python tools/exp.py ls --sort val/top1
    python tools/exp.py show last
    python tools/exp.py diff last
    python tools/exp.py groups

A RUN is a folder, a name (its newest run), a unique part of a folder's name, last, last~2, best:METRIC, or RUN^ (its parent).
Each command has --json (stdout holds JSON and nothing else) and --output-dir (the folder of the runs).
"""

from __future__ import annotations

import argparse
import gc
import io
import logging
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import _root

from tracking.commands import answers
from tracking.reading import index, listing, lookup, query
from tracking.reading.configs import read_origins
from utils.errors import UserError
from utils.logger import setup_logger

# What only one command needs is imported there: listing ten thousand runs takes less than half a second.
LOG = logging.getLogger("fieldbook.exp")
Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str]) -> int:
    """From the command line to the exit code."""
    setup_logger()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a folder's name that is no UTF-8; JSON has the same escape
    from tracking.screens.arguments import parse_arguments

    args = parse_arguments(argv, __doc__ or "")
    args.folder = Path(args.output_dir or "exp")  # "" as in a config
    if args.folder != Path("exp") and args.command not in ("adopt", "completion") and not args.folder.is_dir():
        raise UserError(f"--output-dir {args.folder}: no such folder")
    gc.disable()  # ten thousand rows are made and none is garbage: looking for it takes a third of the time
    try:
        return _command(args.command)(args)
    finally:
        gc.enable()


def ls(args: argparse.Namespace) -> int:
    """The runs, newest first."""
    runs = index.load(args.folder)
    rows = listing.choose(runs, where=args.where, tags=args.tag, only_open=args.only_open, sort=args.sort, reverse=args.reverse)
    _warn(rows)
    if args.json:
        runs.parse()
        rows = rows[: args.limit]
        runs.load_configs([i for row in rows for i in (row["id"], row["parent"])])
        return answers.as_json([listing.as_object(runs, row) for row in rows])
    from tracking.screens.runs_table import print_runs

    limit = None if args.all else listing.PAGE if args.limit is None else args.limit
    print_runs(runs, rows[:limit], len(rows), args.only_open)
    return 0


def show(args: argparse.Namespace) -> int:
    """One run."""
    from tracking.screens import show as shown

    runs, row = answers.one_run(args, trust=True)
    row = runs.reread(row["id"])
    if row["parent"] in runs.by_id:
        runs.reread(row["parent"])
    if args.json:
        return answers.as_json(shown.as_object(runs, row))
    shown.print_run(runs, row)
    return 0


def tail(args: argparse.Namespace) -> int:
    """The end of a log; goes on while the run does."""
    from tracking.screens.show import follow

    lines = follow(lookup.find_run(args.folder, args.run), args.lines, forever=not args.json)
    if args.json:
        return answers.as_json(list(lines))
    for line in lines:
        print(line, flush=True)
    return 0


def diff(args: argparse.Namespace) -> int:
    """Two runs, or a run and the working tree. Without B: what the run has against what its parent has."""
    from tracking.reading import diff as differ

    a = lookup.find_run(args.folder, args.run, write=True)
    if args.other == ".":
        found, codes = differ.with_working_tree(a, _root.ROOT)
        other, origins = "the working tree", [read_origins(a), {}]
    else:
        b = lookup.find_run(a.parent, args.other or f"{a.name}^")
        found, codes = differ.runs(a, b, swap_code=not args.other)
        other, origins = b.name, [read_origins(a), read_origins(b)]
    if args.json:
        return answers.as_json(found)
    from tracking.screens import screens

    screens.difference(a.name, other, found, origins, codes, as_parent=not args.other)
    return 0


def groups(args: argparse.Namespace) -> int:
    """Repeats and their differences."""
    from config.dump import NOT_IN_DIGEST
    from tracking.judging import groups as pooling

    runs = answers.all_runs(args)
    pooling.pass_over(runs, args.across, {*NOT_IN_DIGEST, "MODEL.NUM_CLASSES"})
    against = lookup.find_row(runs, args.against) if args.against else None
    rows = query.select(runs, runs.rows, args.where)
    if args.metric:
        query.check_metric(runs, runs.rows, args.metric)
    found = pooling.report(runs, rows, args.metric, against)
    for reason, count in pooling.reasons_left_out(rows).items():
        LOG.info("%d finished run%s left out: %s", count, "" if count == 1 else "s", reason)
    if args.json:
        return answers.as_json(found)
    from tracking.screens import screens

    screens.groups(runs, found)
    return 0


def best(args: argparse.Namespace) -> int:
    """The ranking by a metric."""

    runs = answers.all_runs(args)
    ranked = listing.best(runs, query.select(runs, runs.rows, args.where), args.metric)
    if args.json:
        places = enumerate(ranked[: args.limit], start=1)
        return answers.as_json([{"place": place, **listing.as_object(runs, row)} for place, row in places])
    from tracking.screens import screens

    screens.best(runs, ranked[: listing.PAGE if args.limit is None else args.limit], args.metric)
    return 0


def blame(args: argparse.Namespace) -> int:
    """Who moved a metric."""
    runs, row = answers.one_run(args)
    from tracking.judging import blame as blaming

    result = blaming.blame(runs, row, args.metric)
    if args.json:
        return answers.as_json(result)
    from tracking.screens import screens

    screens.blame(result)
    return 0


def export(args: argparse.Namespace) -> int:
    """One table of everything."""
    from tracking.reading import export as exporting

    runs = answers.all_runs(args)
    rows = query.select(runs, runs.rows, args.where)
    content = exporting.curves(runs, rows) if args.curves else exporting.table(runs, rows)
    if args.json and args.file:
        raise UserError("--json prints to stdout; leave out --file, or --json")
    if args.json:
        return answers.as_json(list(content))
    columns = exporting.CURVES if args.curves else ()
    if not args.file:
        exporting.write_csv(content, sys.stdout, columns)
        return 0
    try:
        with open(args.file, "w", encoding="utf-8", newline="") as file:
            count = exporting.write_csv(content, file, columns)
    except OSError as error:
        raise UserError(f"{args.file}: cannot be written ({error.strerror})") from error
    print(f"{count} rows written to {args.file}")
    return 0


def reindex(args: argparse.Namespace) -> int:
    """Reads everything anew."""
    runs = index.load(args.folder, full=True)
    _warn(runs.rows)
    broken = sum(bool(row["problems"]) for row in runs.rows)
    said = f"{len(runs.rows)} runs read" + (f", {broken} of them with problems" if broken else "")
    return answers.answer(args, {"runs": len(runs.rows), "with_problems": broken}, said)


def completion(args: argparse.Namespace) -> int:
    """A script for the shell, for all tools."""
    from _parsers import all_parsers

    from config.defaults import get_defaults
    from tracking.screens.completion import script

    print(script(all_parsers(), sorted(get_defaults().flat()), args.shell), end="")
    return 0


def _warn(rows: Sequence[Any]) -> None:
    for row in rows:
        for problem in row["problems"]:
            LOG.warning("%s", problem)


def _command(name: str) -> Command:
    """One of those above, or of tracking/commands, which are imported when they are called."""
    if name in HERE:
        return HERE[name]
    module = import_module(f"tracking.commands.{'page' if name in ('report', 'serve') else 'changing'}")
    found: Command = getattr(module, {"verdict": "note", "untag": "tag"}.get(name, name))
    return found


HERE: dict[str, Command] = {f.__name__: f for f in (ls, show, tail, diff, groups, best, blame, export, reindex, completion)}

if __name__ == "__main__":
    _root.run_tool(main)
