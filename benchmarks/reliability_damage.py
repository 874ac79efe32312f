"""Corruption: copies of a real run's checkpoints are damaged, and the loading must notice.

Noticed means: the damaged file is rejected with a warning that names it, and what is loaded instead is an older, whole
checkpoint; with none left, the command ends with code 3. The same damage to what plain torch.load reads is counted beside it.
"""

from __future__ import annotations

import logging
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import reliability_forks as forks
from benchmarks import reliability_runs as runs
from benchmarks.reliability_kills import RESUMED, Tally

PAGE = 4096
THROUGH_THE_COMMAND = 20  # each so-manieth damage is met by the whole command


def flip(content: bytearray, rng: random.Random) -> bytes:
    """One bit is another."""
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def zero_page(content: bytearray, rng: random.Random) -> bytes:
    """4 KiB are zero that were not."""
    starts = [at for at in range(0, len(content), PAGE) if any(content[at : at + PAGE])]
    at = rng.choice(starts)
    size = len(content[at : at + PAGE])
    content[at : at + PAGE] = bytes(size)
    return bytes(content)


def truncate(content: bytearray, rng: random.Random) -> bytes:
    """The end is missing."""
    return bytes(content[: rng.randrange(1, len(content))])


def empty(content: bytearray, rng: random.Random) -> bytes:
    """Nothing is left."""
    return b""


def zeros(content: bytearray, rng: random.Random) -> bytes:
    """As long as before, and all zero."""
    return bytes(len(content))


DAMAGES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "one bit flipped": flip,
    "a page of 4 KiB zeroed": zero_page,
    "truncated": truncate,
    "empty": empty,
    "all zero": zeros,
}


class _Warnings(logging.Handler):
    """What was warned of while it is attached."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the text."""
        self.lines.append(record.getMessage())


def interrupted_run(folder: Path) -> Path:
    """A run that SIGTERM stopped in its last third, with last.pt and some epoch_NNNN.pt."""
    words = runs.start_words("augmentation, EMA", folder)
    for count in (9, 6, 4, 2):
        shutil.rmtree(folder, ignore_errors=True)
        ended = forks.run(runs.tool(words), forks.Moment("save", count=count, signal=signal.SIGTERM))
        run = runs.only_run(folder)
        if ended.code == 75 and run is not None and len(list((run / "weights").glob("epoch_*.pt"))) >= 2:
            return run
    raise AssertionError(f"no run could be interrupted after two epochs: {ended.log[-500:]}")


def damage_campaign(folder: Path, count: int, rng: random.Random) -> list[Tally]:
    """`count` damages over the kinds; a line each, and one of those met by the whole command."""
    source = interrupted_run(folder / "interrupted")
    tallies = [Tally(name) for name in DAMAGES]
    for number in range(count):
        tally, damage = tallies[number % len(tallies)], list(DAMAGES.values())[number % len(tallies)]
        copy = folder / "damaged" / source.name
        shutil.rmtree(copy, ignore_errors=True)
        if number % THROUGH_THE_COMMAND == THROUGH_THE_COMMAND - 1 - number // THROUGH_THE_COMMAND % len(tallies):
            shutil.copytree(source, copy)
            fault = _through_the_command(copy, damage, rng)
        else:
            shutil.copytree(source / "weights", copy / "weights")
            fault = _in_process(copy / "weights", damage, rng)
        tally.injected += 1
        tally.survived += not fault
        if fault:
            tally.complain(fault)
    return tallies


def _in_process(weights: Path, damage: Callable[..., bytes], rng: random.Random) -> str:
    """The newest is damaged, or the two newest, or best.pt; "" if it was noticed."""
    from engine.checkpoint import load_checkpoint, load_newest
    from utils.errors import NoUsableCheckpoint

    order = _newest_first(weights)
    victims = rng.choice([order[:1], order[:1], order[:2], [weights / "best.pt"]])
    for path in victims:
        path.write_bytes(damage(bytearray(path.read_bytes()), rng))
    if victims[0].name == "best.pt":
        try:
            load_checkpoint(victims[0])
        except NoUsableCheckpoint as error:
            return "" if "best.pt" in str(error) else f"best.pt is not named: {error}"
        return "a damaged best.pt was loaded"
    loaded, warned = _load(load_newest, weights)
    step = _step(loaded)
    unnamed = [path.name for path in victims if not any(path.name in line for line in warned)]
    if unnamed:
        return f"{', '.join(unnamed)}: damaged, and no warning names it (step {step} was loaded)"
    expected = _step(runs.load(order[len(victims)]))
    return "" if step == expected else f"step {step} was loaded instead of {expected}"


def _through_the_command(run: Path, damage: Callable[..., bytes], rng: random.Random) -> str:
    """All are damaged: code 3 and all are named; or the newest alone: the run goes on from the one before."""
    order = _newest_first(run / "weights")
    hopeless = rng.random() < 0.3
    for path in order if hopeless else order[:1]:
        path.write_bytes(damage(bytearray(path.read_bytes()), rng))
    before = {path: path.read_bytes() for path in order}
    ended = forks.run(runs.tool(runs.resume_words(run)))
    if hopeless:
        named = all(path.name in ended.log for path in order)
        kept = all(path.is_file() and path.read_bytes() == before[path] for path in order)
        return "" if ended.code == 3 and named and kept else f"none was whole: exit code {ended.code}: {ended.log[-200:]}"
    warned = any("WARNING" in line and order[0].name in line for line in ended.log.splitlines())
    said = forks.last_match(RESUMED, ended.log)
    expected = runs.load(order[1])
    fine = ended.code == 0 and warned and said and int(said[1]) == _step(expected)
    return "" if fine else f"the command: exit code {ended.code}, went on at {said}: {ended.log[-200:]}"


def _newest_first(weights: Path) -> list[Path]:
    """The checkpoints that a run can go on from."""
    paths = [weights / "last.pt", *weights.glob("epoch_*.pt")]
    return sorted(paths, key=lambda path: (_step(runs.load(path)), path.name), reverse=True)


def _step(content: dict[str, Any] | None) -> int:
    return -1 if content is None else int(content["progress"]["step"])


def _load(load_newest: Callable[[Path], Any], weights: Path) -> tuple[Any, list[str]]:
    """What was loaded, and the warnings on the way."""
    handler, log = _Warnings(), logging.getLogger("fieldbook")
    log.addHandler(handler)
    propagates, log.propagate = log.propagate, False
    try:
        found = load_newest(weights)
        return found[1] if found else None, handler.lines
    finally:
        log.removeHandler(handler)
        log.propagate = propagates


def plain_load(path: Path, rng: random.Random, count: int) -> tuple[int, int]:
    """The same damages to one file that torch.load reads: (injected, loaded without a word)."""
    whole, silent = path.read_bytes(), 0
    copy = path.with_name("damaged.pt")
    for number in range(count):
        damage = list(DAMAGES.values())[number % len(DAMAGES)]
        copy.write_bytes(damage(bytearray(whole), rng))
        silent += runs.load(copy) is not None
    copy.unlink()
    return count, silent
