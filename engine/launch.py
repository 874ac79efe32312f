"""The start of a run: what its record says, and its folder on every rank."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import config
import tracking
from config import Config
from data import Splits, summary
from engine import distributed
from engine.card import device_name
from engine.prepare import choose_device
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.engine")


def check_ranks_agree(cfg: Config) -> None:
    """All ranks must have been started with the same config: they would train different things as one.

    Raises:
        UserError: on every rank; it names the first rank that has something else, and what.
    """
    first, *others = distributed.gather(cfg.flat())
    for rank, other in enumerate(others, start=1):
        keys = [key for key in sorted({*first, *other}) if first.get(key) != other.get(key)]
        if keys:
            shown = ", ".join(f"{key} {other.get(key)!r} (rank 0: {first.get(key)!r})" for key in keys[:3])
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise UserError(f"rank {rank} was started with {shown}{more}; start all ranks with the same command and files")


def choose_parent(cfg: Config, name: str, explicit: str) -> tuple[tracking.Record | None, bool]:
    """The run that the new one is compared with, the same on every rank, and whether it is only a guess.

    Raises:
        UserError: --parent names no run.
    """
    return distributed.on_main(lambda: tracking.choose_parent(cfg.runs_folder, name, cfg.flat(), explicit))


def make_facts(
    cfg: Config,
    splits: Splits,
    *,
    name: str,
    args: argparse.Namespace,
    command: Sequence[str],
    root: Path,
    parent: tracking.Record | None,
    guess: bool,
) -> tracking.Facts:
    """What run.json says of the start.

    Args:
        command: the tool's path in `root`, such as tools/train_net.py, and its words.
    """
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    device = choose_device(cfg.MODEL.DEVICE)
    hardware = {"torch": torch.__version__, "device": device_name(device), "threads": str(torch.get_num_threads())}
    return tracking.Facts(
        root=root,
        name=name,
        config=config.dump(cfg),
        config_digest=config.digest(cfg),
        origins=dict(cfg.origins),
        seed=cfg.SEED,
        command=list(command),
        why=args.why,
        expect=args.expect,
        tags=args.tags,
        parent=parent.id if parent is not None else "",
        parent_guess=guess,
        world_size=distributed.world_size(),
        data={split: summary(part) for split, part in parts.items() if part is not None},
        hardware=hardware,
    )


def make_run(folder: Path, facts: tracking.Facts) -> Any:
    """The run of this rank: rank 0 makes the folder and names it to the others. If it cannot, all end with its error."""
    return _run_of(lambda: tracking.start_run(folder, facts))


def reopen_run(path: Path, root: Path, changes: dict[str, Any]) -> Any:
    """The run of this rank in an old folder; a warning where the code differs from its copy."""

    def reopen() -> tracking.Run:
        run, difference = tracking.resume_run(path, root, changes)
        if difference:
            LOG.warning("%s", difference)
        return run

    return _run_of(reopen)


def _run_of(make: Callable[[], tracking.Run]) -> Any:
    """What rank 0 makes; on every other rank a quiet twin in the same folder."""
    runs: list[tracking.Run] = []

    def made() -> str:
        runs.append(make())
        return str(runs[0].path)

    path = distributed.on_main(made)
    return runs[0] if runs else tracking.QuietRun(Path(path))
