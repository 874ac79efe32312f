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
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import _root

from tracking.reading import index, listing, lookup, query
from tracking.reading.configs import read_origins
from tracking.record import read_record
from utils.errors import UserError
from utils.logger import setup_logger

# What only one command needs is imported there: listing ten thousand runs takes less than half a second.
LOG = logging.getLogger("fieldbook.exp")
Command = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str]) -> int:
    """From the command line to the exit code."""
    setup_logger()
    from tracking.screens.arguments import parse_arguments

    args = parse_arguments(argv, __doc__ or "")
    args.folder = Path(args.output_dir)
    if args.output_dir != "exp" and args.command not in ("adopt", "completion") and not args.folder.is_dir():
        raise UserError(f"--output-dir {args.folder}: no such folder")
    gc.disable()  # ten thousand rows are made and none is garbage: looking for it takes a third of the time
    try:
        return COMMANDS[args.command](args)
    finally:
        gc.enable()


def ls(args: argparse.Namespace) -> int:
    """The runs, newest first."""
    runs = index.load(args.folder)
    rows = listing.choose(runs, where=args.where, tags=args.tag, only_open=args.only_open, sort=args.sort, reverse=args.reverse)
    _warn(rows)
    if args.json:
        runs.parse()
        rows = rows[: args.limit] if args.limit is not None else rows
        runs.load_configs([i for row in rows for i in (row["id"], row["parent"])])
        return _print([listing.as_object(runs, row) for row in rows])
    from tracking.screens import screens

    shown = len(rows) if args.all else args.limit if args.limit is not None else listing.PAGE
    screens.runs_list(runs, rows[:shown], len(rows), args.only_open)
    return 0


def show(args: argparse.Namespace) -> int:
    """One run."""
    from tracking.screens import screens
    from tracking.screens import show as shown

    runs, row = _one(args, trust=True)
    row = runs.reread(row["id"])
    if row["parent"] in runs.by_id:
        runs.reread(row["parent"])
    if args.json:
        return _print(shown.as_object(runs, row))
    screens.run(runs, row)
    return 0


def tail(args: argparse.Namespace) -> int:
    """The end of a log; goes on while the run does."""
    from tracking.screens.show import follow

    lines = follow(lookup.find(args.folder, args.run), args.lines, forever=not args.json)
    if args.json:
        return _print(list(lines))
    for line in lines:
        print(line, flush=True)
    return 0


def diff(args: argparse.Namespace) -> int:
    """Two runs, or a run and the working tree. Without B: what the run has against what its parent has."""
    from tracking.reading import diff as differ
    from tracking.screens import screens

    a = lookup.find(args.folder, args.run, write=True)
    if args.other == ".":
        found, codes = differ.with_working_tree(a, _root.ROOT)
        other, origins = "the working tree", [read_origins(a), {}]
    else:
        b = lookup.find(a.parent, args.other or f"{a.name}^")
        found, codes = differ.runs(a, b, swap_code=not args.other)
        other, origins = b.name, [read_origins(a), read_origins(b)]
    if args.json:
        return _print(found)
    screens.difference(a.name, other, found, origins, codes, as_parent=not args.other)
    return 0


def groups(args: argparse.Namespace) -> int:
    """Repeats and their differences."""
    from config.dump import NOT_IN_DIGEST
    from tracking.judging import groups as pooling
    from tracking.screens import screens

    runs = _all(args)
    pooling.pass_over(runs, args.across, {*NOT_IN_DIGEST, "MODEL.NUM_CLASSES"})
    against = lookup.find_row(runs, args.against) if args.against else None
    rows = query.select(runs, runs.rows, args.where)
    if args.metric:
        listing.check_metric(runs.rows, args.metric, runs.folder)
    found = pooling.report(runs, rows, args.metric, against)
    for reason, count in pooling.reasons_left_out(rows).items():
        LOG.info("%d finished run%s left out: %s", count, "" if count == 1 else "s", reason)
    if args.json:
        return _print(found)
    screens.groups(runs, found)
    return 0


def best(args: argparse.Namespace) -> int:
    """The ranking by a metric."""
    from tracking.screens import screens

    runs = _all(args)
    ranked = listing.best(runs, query.select(runs, runs.rows, args.where), args.metric)
    if args.json:
        ranked = ranked[: args.limit] if args.limit is not None else ranked
        return _print([{"place": p, "value": v, **listing.as_object(runs, row)} for p, row, v in ranked])
    screens.best(runs, ranked[: args.limit if args.limit is not None else listing.PAGE], args.metric)
    return 0


def blame(args: argparse.Namespace) -> int:
    """Who moved a metric."""
    runs, row = _one(args)
    from tracking.judging import blame as blaming
    from tracking.screens import screens

    result = blaming.blame(runs, row, args.metric)
    if args.json:
        return _print(result)
    screens.blame(result)
    return 0


def note(args: argparse.Namespace) -> int:
    """Appends to the notes, or sets the verdict."""
    from tracking import notes

    path = lookup.find(args.folder, args.run)
    (notes.add_note if args.command == "note" else notes.set_verdict)(path, " ".join(args.text))
    index.forget(path.parent, path.name)
    return _print({"run": path.name}) if args.json else _say(f"written to {path / 'notes.md'}")


def tag(args: argparse.Namespace) -> int:
    """Adds tags, or takes them away."""
    from tracking import notes

    path = lookup.find(args.folder, args.run)
    add, remove = (args.tags, []) if args.command == "tag" else ([], args.tags)
    tags = notes.change_tags(path, add, remove, read_record(path).run.get("tags", []))
    index.forget(path.parent, path.name)
    return _print({"run": path.name, "tags": tags}) if args.json else _say(f"{path.name}: {' '.join(tags) or 'no tags'}")


def restore(args: argparse.Namespace) -> int:
    """The code and the config of a run in a new folder."""
    import shlex

    from tracking.keeping import restore as restoring

    path = lookup.find(args.folder, args.run)
    command = shlex.join(restoring.restore(path, Path(args.destination)))
    if args.json:
        return _print({"run": path.name, "destination": args.destination, "command": command})
    print(f"the code of {path.name}, every file verified, is in {args.destination}; run it with\n{command}")
    return 0


def rerun(args: argparse.Namespace) -> int:
    """The same again; exit code 1 where it came out different."""
    runs, row = _one(args)
    from tracking.keeping import restore as restoring
    from tracking.screens import screens

    result = restoring.rerun(runs, row, args.overrides)
    if args.json:
        _print(result)
    else:
        screens.rerun(result)
    return 0 if result["equal"] else 1


def rm(args: argparse.Namespace) -> int:
    """Runs to the trash, at once: undo brings them back. Emptying the trash needs --yes."""
    from tracking.keeping import trash
    from utils import files

    if args.empty_trash:
        size = trash.trash_bytes(args.folder)
        if args.yes:
            trash.empty(args.folder)
        words = "freed" if args.yes else "would be freed, for good; --yes does it"
        return _print({"bytes": size, "done": args.yes}) if args.json else _say(f"{files.size(size)} {words}")
    if not args.runs:
        raise UserError("which runs? exp.py rm RUN...")
    runs = index.load(args.folder)
    rows = {row["id"]: row for row in (lookup.find_row(runs, text, strict=True) for text in args.runs)}
    return _move(args, trash.plan_removal(runs, list(rows.values())), "rm", not args.dry_run)


def prune(args: argparse.Namespace) -> int:
    """Weights that nothing needs, to the trash."""
    from tracking.keeping import trash

    runs = _all(args)
    rows = {r["id"]: r for r in (lookup.find_row(runs, text, strict=True) for text in args.runs)}
    chosen = query.select(runs, list(rows.values()) if args.runs else runs.rows, args.where)
    return _move(args, trash.plan_pruning(runs, chosen), "prune", args.yes)


def undo(args: argparse.Namespace) -> int:
    """Takes back the newest removal."""
    from tracking.keeping import trash

    what, paths = trash.undo(args.folder)
    return _print({"undone": what, "paths": paths}) if args.json else _say(f"{what} undone: {', '.join(paths)}")


def adopt(args: argparse.Namespace) -> int:
    """Records of old folders; one adopted before is passed over."""
    from tracking.keeping import adopt as adopting
    from tracking.keeping import old_files

    typed = old_files.read_notes(Path(args.notes)) if args.notes else {}
    made, known = adopting.adopt_all(args.old, args.folder, typed)
    if args.json:
        return _print([{"from": str(old), "run": run} for old, run in made])
    for old, run in made:
        print(f"{old} -> {args.folder / run}")
    return _say(f"{len(made)} runs adopted" + (f", {known} were already" if known else "") + "; their code is unknown")


def export(args: argparse.Namespace) -> int:
    """One table of everything."""
    from tracking.reading import export as exporting

    runs = _all(args)
    rows = query.select(runs, runs.rows, args.where)
    content = exporting.curves(runs, rows) if args.curves else exporting.table(runs, rows)
    if args.json and args.file:
        raise UserError("--json prints to stdout; leave out --file, or --json")
    if args.json:
        return _print(list(content))
    columns = exporting.CURVES if args.curves else ()
    if not args.file:
        exporting.write_csv(content, sys.stdout, columns)
        return 0
    try:
        with open(args.file, "w", encoding="utf-8", newline="") as file:
            count = exporting.write_csv(content, file, columns)
    except OSError as error:
        raise UserError(f"{args.file}: cannot be written ({error.strerror})") from error
    return _say(f"{count} rows written to {args.file}")


def reindex(args: argparse.Namespace) -> int:
    """Reads everything anew."""
    runs = index.load(args.folder, full=True)
    _warn(runs.rows)
    broken = sum(bool(row["problems"]) for row in runs.rows)
    if args.json:
        return _print({"runs": len(runs.rows), "with_problems": broken})
    return _say(f"{len(runs.rows)} runs read" + (f", {broken} of them with problems" if broken else ""))


def completion(args: argparse.Namespace) -> int:
    """A script for the shell."""
    from tracking.screens.arguments import make_parser
    from tracking.screens.completion import script

    print(script(make_parser(""), args.shell), end="")
    return 0


def _all(args: argparse.Namespace) -> Any:

    runs = index.load(args.folder)
    runs.parse()
    return runs


def _one(args: argparse.Namespace, trust: bool = False) -> tuple[Any, Any]:

    runs = index.load(args.folder, trust=True) if trust and "best:" not in args.run else _all(args)
    return runs, lookup.find_row(runs, args.run)


def _move(args: argparse.Namespace, items: list[Any], what: str, act: bool) -> int:
    from tracking.keeping import trash
    from tracking.screens import screens

    if act and items:
        trash.move(args.folder, items, what)
    if args.json:
        total = sum(item.bytes for item in items)
        return _print({"done": act, "bytes": total, "paths": [{"path": i.path, "bytes": i.bytes} for i in items]})
    screens.removal(args.folder, items, act, what)
    return 0


def _warn(rows: Sequence[Any]) -> None:
    for row in rows:
        for problem in row["problems"]:
            LOG.warning("%s", problem)


def _say(text: str) -> int:
    print(text)
    return 0


def _print(content: Any) -> int:
    print(json.dumps(content, ensure_ascii=False, default=str))
    return 0


COMMANDS: dict[str, Command] = {f.__name__: f for f in (ls, show, tail, diff, groups, best, blame, note, tag, restore, rerun)}
COMMANDS |= {f.__name__: f for f in (rm, prune, undo, adopt, export, reindex, completion)}
COMMANDS |= {"verdict": note, "untag": tag}

if __name__ == "__main__":
    _root.run_tool(main)
