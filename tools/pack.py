"""Packs image files into WebDataset shards, each with an index beside it, for `DATASETS.TRAIN shards:DIR/train-*.tar`.

python tools/pack.py image_folder:photos -o packed        # its train/ and test/ (or val/), or all its classes
python tools/pack.py labels.csv -o packed --shard-size 500
python tools/pack.py photos -o packed --jobs 8            # killed? the same command goes on
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import _root

from utils.arguments import Parser
from utils.errors import RunFailed, UserError
from utils.files import free_bytes, sha256_file, size, write_atomic
from utils.logger import setup_logger

if TYPE_CHECKING:
    from data.shards.packing import Outcome, Shard, Source

LOG = logging.getLogger("fieldbook.pack")
SUMS, CLASSES = "SHA256SUMS", "classes.txt"
SHOWN = 20  # files left out that are named
Plan = list[tuple["Source", list["Shard"]]]


def main(argv: Sequence[str]) -> int:
    """Packs, and says what was packed; 1 where a file could not be read."""
    args = parse(argv)
    setup_logger()
    from data.shards.packing import check_folder, plan

    sources = sources_of(args.source)
    limits = {"shard_samples": args.samples} if args.samples else {"shard_bytes": int(args.shard_size * 1e6)}
    plans = [(source, plan(source, **limits)) for source in sources]
    folder = Path(args.out)
    with claimed(folder):
        for source, shards in plans:
            check_folder(folder, source, shards)
        outcomes = pack_all(plans, folder, args.jobs)
        write_lists(folder, plans, outcomes)
    return summarise(args.source, folder, plans, outcomes)


def make_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = Parser(prog="pack.py", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("source", metavar="SOURCE", help="image_folder:PATH or csv:PATH; a folder or a .csv will do")
    add("-o", "--out", metavar="DIR", required=True, help="the folder of the shards; what a killed packing finished is kept")
    add("--shard-size", metavar="MB", type=float, default=100.0, help="size of a shard at most, in MB (default: 100)")
    add("--samples", metavar="N", type=int, default=0, help="samples of a shard, instead of its size")
    add("--jobs", metavar="N", type=int, default=0, help="shards written at a time (default: one a core)")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    args = make_parser().parse_args(list(argv))
    if args.shard_size <= 0 or args.samples < 0 or args.jobs < 0:
        raise UserError("--shard-size, --samples and --jobs are no less than 0, the size greater")
    return args


def sources_of(name: str) -> list[Source]:
    """The training part of a data set and, where it has one, the test part.

    Raises:
        UserError: an unknown name, no files, or no such data.
    """
    from data.datasets import factory_of
    from data.datasets.image_folder import ImageFiles
    from data.shards.packing import source_of

    if ":" not in name and Path(name).exists():
        name = f"{'image_folder' if Path(name).is_dir() else 'csv'}:{name}"
    factory = factory_of(name)
    found = {part: factory(root="datasets", seed=0, train=part == "train") for part in ("train", "test")}
    sources = []
    for part, dataset in found.items():
        if dataset is None:
            continue
        if not isinstance(dataset, ImageFiles) or not dataset.files:
            raise UserError(f"{name} has no image files to pack; image_folder:PATH has, and csv:PATH with path,target(s)")
        if dataset.open_set:
            raise UserError(f"{name}: cameras and roles of a retrieval set do not fit into shards; use it as it is")
        sources.append(source_of(dataset, part))
        if not sources[-1].origins:
            raise UserError(f"{name}: no file of its {part} part has a label")
    return sources


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Within, no other packing writes to the folder, which is made if need be."""
    import fcntl  # Windows, which is told so when _root is imported, has none

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / ".lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield  # the file stays: another packing may hold it already
    except BlockingIOError as error:
        raise UserError(f"-o {folder}: another pack.py is writing there; wait for it, or take another folder") from error
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"-o {folder}: {error.strerror}; take a folder that can be written") from error
    except OSError as error:
        raise RunFailed(f"{folder}: {error.strerror or error}; finished shards are kept, the same command goes on") from error


def pack_all(plans: Plan, folder: Path, jobs: int) -> list[Outcome]:
    """All shards, several at a time, with a bar or lines of how far it is; in the order of the plans."""
    from data.loaders.threads import default_threads
    from data.shards.packing import pack

    todo = [(source, shard) for source, shards in plans for shard in shards]
    needed = sum(len(shard.rows) for _, shard in todo)
    LOG.info("%d files into %d shards; %s free", needed, len(todo), size(free_bytes(folder)))
    done: dict[str, Outcome] = {}
    with ThreadPoolExecutor(jobs or default_threads()) as pool, progress(len(todo)) as advance:
        running = [pool.submit(pack, source, shard, folder) for source, shard in todo]
        try:
            for future in as_completed(running):
                outcome = future.result()
                done[outcome.shard.name] = outcome
                advance(outcome)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [done[shard.name] for _, shard in todo]


@contextlib.contextmanager
def progress(total: int) -> Iterator[Any]:
    """A bar on a terminal; elsewhere a line for each shard."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("shards  {task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)

        def advance(outcome: Outcome) -> None:
            said = f"{outcome.shard.name}  {outcome.samples} samples, {size(outcome.bytes)}{', kept' if outcome.kept else ''}"
            bar.update(task, advance=1, description=said)
            if not console.is_terminal:
                LOG.info("%s", said)

        yield advance


def write_lists(folder: Path, plans: Plan, outcomes: Sequence[Outcome]) -> None:
    """`SHA256SUMS` of all shards that lie there with their indices, and `classes.txt`."""
    from data.shards.index import SUFFIX

    write_atomic(folder / CLASSES, "".join(f"{name}\n" for name in plans[0][0].classes))
    sums = {outcome.shard.name: outcome.sha256 for outcome in outcomes}
    for name in [*(f"{shard}{SUFFIX}" for shard in sums), CLASSES]:
        sums[name] = sha256_file(folder / name)
    write_atomic(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))


def summarise(name: str, folder: Path, plans: Plan, outcomes: Sequence[Outcome]) -> int:
    """Prints what lies where; the exit code."""
    by_name = {outcome.shard.name: outcome for outcome in outcomes}
    kept = sum(outcome.kept for outcome in outcomes)
    print(f"{name} -> {folder}" + (f" ({kept} of {len(outcomes)} shards were there already)" if kept else ""))
    for source, shards in plans:
        own = [by_name[shard.name] for shard in shards]
        samples, taken = sum(one.samples for one in own), sum(one.bytes for one in own)
        counts = f"{len(own)} shard{'s' * (len(own) > 1)}, {samples:,} samples, {len(source.classes)} classes, {size(taken)}"
        unlabelled = f"; left out: {source.unlabelled} files without a label" if source.unlabelled else ""
        print(f"  {source.name:<6} {counts}{unlabelled}")
    bad = [one for outcome in outcomes for one in outcome.bad]
    if bad:
        print(f"  left out: {len(bad)} files that cannot be read")
        for _, reason in bad[:SHOWN]:
            print(f"    {reason}")
        if len(bad) > SHOWN:
            print(f"    and {len(bad) - SHOWN} more")
    print(f"check:  cd {folder} && sha256sum -c --quiet {SUMS}")
    keys = {"train": "DATASETS.TRAIN", "test": "DATASETS.TEST"}
    patterns = {keys[source.name]: os.path.join(f"shards:{folder}", f"{source.name}-*.tar") for source, _ in plans}
    print("train:  " + " ".join(f"{key} '{pattern}'" for key, pattern in patterns.items()))
    return 1 if bad else 0


if __name__ == "__main__":
    _root.run_tool(main)
