"""Sends the record of a run to other trackers: what a mirror could not send while the run went on, or all of it.

python tools/mirror.py last                  # to those that MIRRORS of the run names
python tools/mirror.py my_run wandb mlflow   # to these
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _root

from tracking import find_run, read_record
from tracking.lock import RunLock
from tracking.mirrors.base import read_facts
from tracking.mirrors.build import check_mirrors, named
from tracking.mirrors.process import finish_mirrors, start_mirrors
from tracking.record import state_of
from utils.arguments import Parser
from utils.errors import UserError
from utils.logger import setup_logger

A_DAY = 86_400.0  # seconds; longer than anybody waits


def main(argv: Sequence[str]) -> int:
    """Sends and waits; 1 where a mirror failed."""
    args = make_parser().parse_intermixed_args(list(argv))
    setup_logger()
    path = find_run(Path(args.output_dir), args.run)
    if state_of(read_record(path)) == "running":
        raise UserError(f"{path.name} is still running; stop it first, or wait for its end")
    entries = chosen(args.mirrors, read_facts(path).config.get("MIRRORS") or [])
    if not entries:
        raise UserError(f"{path.name} names no MIRRORS; say which: tools/mirror.py {args.run} wandb")
    check_mirrors(entries)
    lock = _lock(path)
    try:
        mirrors = start_mirrors(path, entries)
        finish_mirrors(mirrors, A_DAY)
    finally:
        lock.release(path)
    return int(any(mirror.failed for mirror in mirrors))


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = Parser(prog="mirror.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", metavar="RUN", help="a run, as exp.py takes it")
    parser.add_argument("mirrors", metavar="MIRROR", nargs="*", help="where to; nothing: as MIRRORS of the run says")
    parser.add_argument("--output-dir", metavar="DIR", default="exp", help="the folder of the runs (default: exp)")
    return parser


def chosen(names: Sequence[str], entries: Sequence[Any]) -> list[Any]:
    """The entries of these names, with the run's own arguments where it has some; without names all of the run's."""
    own = {named(entry)[0]: entry for entry in entries}
    return [own.get(name, name) for name in names] if names else list(entries)


def _lock(path: Path) -> RunLock:
    """Nobody resumes the run or mirrors it a second time meanwhile."""
    try:
        return RunLock(path, "being mirrored")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); nothing was sent") from error


if __name__ == "__main__":
    _root.run_tool(main)
