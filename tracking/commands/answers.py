"""What the commands share: the runs they are about, and their answers as JSON or as a line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from tracking.reading import index, lookup


def all_runs(args: argparse.Namespace) -> Any:
    """Every run of the folder, parsed."""
    runs = index.load(args.folder)
    runs.parse()
    return runs


def one_run(args: argparse.Namespace, trust: bool = False) -> tuple[Any, Any]:
    """Every run, and the row of the one that is meant.

    Args:
        trust: ended runs that the index knows are not looked at again.
    """
    runs = index.load(args.folder, trust=True) if trust and "best:" not in args.run else all_runs(args)
    return runs, lookup.find_row(runs, args.run)


def named(runs: Any, texts: Sequence[str], strict: bool = False) -> list[Any]:
    """The rows of the runs that are meant, each once."""
    rows = [lookup.find_row(runs, text, strict) for text in texts]
    return list({row["id"]: row for row in rows}.values())


def as_json(content: Any) -> int:
    """JSON to stdout; the exit code 0."""
    print(json.dumps(content, ensure_ascii=False, default=str))
    return 0


def answer(args: argparse.Namespace, content: Any, text: str) -> int:
    """`content` where --json asks for it, else `text`, to stdout; the exit code 0."""
    if args.json:
        return as_json(content)
    print(text)
    return 0
