"""Whether the checkpoints of a run fit on the disk, asked before the run begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine import distributed
from engine.host_copy import tensor_bytes
from engine.sharding import is_sharded
from utils.errors import UserError
from utils.files import free_bytes, size

if TYPE_CHECKING:
    from engine.trainer import Trainer


def check_disk(trainer: Trainer, folder: Path, *, resumed: bool = False) -> None:
    """Compares the free space where `folder` lies (or will lie) with what the checkpoints need at least: last.pt, best.pt
    and the next one under its temporary name; in a run that goes on, the temporary one.

    All ranks must call this, before the folder of the run is made.

    Raises:
        UserError: too little is free; it names both in bytes.
    """
    last, best = checkpoint_bytes(trainer)
    needed = last if resumed else 2 * last + best

    def check() -> None:
        free = free_bytes(folder)
        if free < needed:
            raise UserError(
                f"the disk of {folder} is too full: the checkpoints need at least {size(needed)} ({needed} bytes), "
                f"{size(free)} ({free} bytes) are free; make room, or take another --output-dir"
            )

    distributed.on_main(check)


def checkpoint_bytes(trainer: Trainer) -> tuple[int, int]:
    """Bytes of last.pt and of best.pt, all ranks asking.

    An optimizer has no state before its first step: it is taken to keep two numbers for each parameter, as Adam does.
    """
    state = trainer.state_dict()
    last, best = tensor_bytes(state), tensor_bytes([state["model"], state["loss"]])
    if not trainer.optimizer.state:
        last += 2 * tensor_bytes([p.detach() for group in trainer.optimizer.param_groups for p in group["params"]])
    if is_sharded(trainer.task):
        last, best = sum(distributed.gather(last)), sum(distributed.gather(best))
    return last, best
