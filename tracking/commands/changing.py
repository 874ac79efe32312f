"""`exp.py` note, verdict, tag, untag, restore, rerun, rm, prune, undo, adopt: what people do to records."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from tracking import notes
from tracking.commands import answers
from tracking.keeping import adopt as adopting
from tracking.keeping import old_files, trash
from tracking.keeping import restore as restoring
from tracking.reading import cache, index, lookup, query
from tracking.record import read_record
from utils import files
from utils.errors import UserError


def note(args: argparse.Namespace) -> int:
    """Appends to the notes, or sets the verdict."""
    path = lookup.find_run(args.folder, args.run)
    (notes.add_note if args.command == "note" else notes.set_verdict)(path, " ".join(args.text))
    cache.forget(path.parent, path.name)
    return answers.answer(args, {"run": path.name}, f"written to {path / 'notes.md'}")


def tag(args: argparse.Namespace) -> int:
    """Adds tags, or takes them away."""
    path = lookup.find_run(args.folder, args.run)
    add, remove = (args.tags, []) if args.command == "tag" else ([], args.tags)
    tags = notes.change_tags(path, add, remove, read_record(path).run.get("tags", []))
    cache.forget(path.parent, path.name)
    return answers.answer(args, {"run": path.name, "tags": tags}, f"{path.name}: {' '.join(tags) or 'no tags'}")


def restore(args: argparse.Namespace) -> int:
    """The code and the config of a run in a new folder."""
    path = lookup.find_run(args.folder, args.run)
    command = shlex.join(restoring.restore(path, Path(args.destination)))
    said = f"the code of {path.name}, every file verified, is in {args.destination}; run it with\n{command}"
    return answers.answer(args, {"run": path.name, "destination": args.destination, "command": command}, said)


def rerun(args: argparse.Namespace) -> int:
    """The same again; exit code 1 where it came out different."""
    runs, row = answers.one_run(args)
    from tracking.screens import screens

    result = restoring.rerun(runs, row, args.overrides)
    if args.json:
        answers.as_json(result)
    else:
        screens.rerun(result)
    return 0 if result["equal"] else 1


def rm(args: argparse.Namespace) -> int:
    """Runs to the trash, at once: undo brings them back. Emptying the trash needs --yes."""
    if args.empty_trash:
        size = trash.trash_bytes(args.folder)
        if args.yes:
            trash.empty(args.folder)
        words = "freed" if args.yes else "would be freed, for good; --yes does it"
        return answers.answer(args, {"bytes": size, "done": args.yes}, f"{files.size(size)} {words}")
    if not args.runs:
        raise UserError("which runs? exp.py rm RUN...")
    runs = index.load(args.folder)
    rows = answers.named(runs, args.runs, strict=True)
    return _move(args, trash.plan_removal(runs, rows), "rm", not args.dry_run)


def prune(args: argparse.Namespace) -> int:
    """Weights that nothing needs, to the trash."""
    runs = answers.all_runs(args)
    rows = answers.named(runs, args.runs, strict=True) if args.runs else runs.rows
    chosen = query.select(runs, rows, args.where)
    return _move(args, trash.plan_pruning(runs, chosen), "prune", args.yes)


def undo(args: argparse.Namespace) -> int:
    """Takes back the newest removal."""
    what, paths = trash.undo(args.folder)
    return answers.answer(args, {"undone": what, "paths": paths}, f"{what} undone: {', '.join(paths)}")


def adopt(args: argparse.Namespace) -> int:
    """Records of old folders; one adopted before is passed over."""
    typed = old_files.read_notes(Path(args.notes)) if args.notes else {}
    made, known = adopting.adopt_all(args.old, args.folder, typed)
    lines = [f"{old} -> {args.folder / run}" for old, run in made]
    lines.append(f"{len(made)} runs adopted{f', {known} were already' if known else ''}; their code is unknown")
    return answers.answer(args, [{"from": str(old), "run": run} for old, run in made], "\n".join(lines))


def _move(args: argparse.Namespace, items: list[Any], what: str, act: bool) -> int:
    from tracking.screens import screens

    if act and items:
        trash.move(args.folder, items, what)
    if args.json:
        total = sum(item.bytes for item in items)
        return answers.as_json({"done": act, "bytes": total, "paths": [{"path": i.path, "bytes": i.bytes} for i in items]})
    screens.removal(args.folder, items, act, what)
    return 0
