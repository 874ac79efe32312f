"""Ranks. Every function here does nothing, or the obvious, at world size 1, so that callers need no `if`.

Ranks come from torchrun's environment (RANK, LOCAL_RANK, WORLD_SIZE); nothing else starts processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from utils.errors import RunFailed, UserError

T = TypeVar("T")
P = TypeVar("P")
was_rank = False  # whether this process ever joined a process group, whose threads outlive it (see tools/_root.py)


def rank() -> int:
    """This process's number, 0 to world_size - 1."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this is rank 0, the one that names the folder and writes the record."""
    return rank() == 0


def launched_ranks() -> int:
    """The world size that torchrun announced, before any process group exists.

    Raises:
        UserError: WORLD_SIZE is no such number.
    """
    return _announced("WORLD_SIZE", 1)


@contextmanager
def session(device: torch.device, timeout: float = 600.0) -> Iterator[None]:
    """Joins the process group that torchrun announced (nccl on CUDA, else gloo) and leaves it at the end. A GPU that is named
    by its number is then what torch means by "the current device", for one process as well.

    Args:
        timeout: seconds to wait for a rank that hangs.

    Raises:
        UserError: what the environment announces is no whole group, or its port is in use.
    """
    if launched_ranks() == 1:
        if device.type == "cuda" and device.index is not None:
            torch.cuda.set_device(device)
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(_announced("LOCAL_RANK", 0))
    global was_rank
    was_rank = True
    try:
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout), **_meeting_place())
    except dist.DistError as error:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(
            f"the ranks cannot meet at {place} ({' '.join(str(error).split())[:160]}); take another port (torchrun "
            "--master-port N), or, on one host, torchrun --standalone, which finds a free one"
        ) from error
    except ValueError as error:  # a variable is missing or malformed
        raise UserError(f"WORLD_SIZE announces ranks, but: {error}; start them with torchrun, or unset WORLD_SIZE") from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def _announced(key: str, least: int) -> int:
    text = os.environ.get(key, str(least))
    if not text.isdecimal() or int(text) < least:
        raise UserError(f"the environment has {key}={text}, not a number from {least} on; torchrun sets it, else unset it")
    return int(text)


def _meeting_place() -> dict[str, Any]:
    """Where ranks that torchrun started again meet: under names of their own. Its store outlives them, and in it lie the
    addresses of the ranks that are gone. Elsewhere torch finds the place by itself."""
    attempt = _announced("TORCHELASTIC_RESTART_COUNT", 0)
    if not attempt:
        return {}
    store, number, size = next(dist.rendezvous("env://"))
    return {"store": dist.PrefixStore(f"attempt_{attempt}", store), "rank": number, "world_size": size}


def broadcast(value: Any) -> Any:
    """Rank 0's `value` (a string, number or plain container) on every rank."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: Any) -> list[Any]:
    """Every rank's `value`, in the order of ranks, on every rank."""
    if world_size() == 1:
        return [value]
    boxes: list[Any] = [None] * world_size()
    dist.all_gather_object(boxes, value)
    return boxes


def share_out(parts: Iterable[P], act: Callable[[P], T]) -> list[T]:
    """act(part) of each part, in their order, on every rank; each rank does every world_size-th of them, so that none waits
    longer than for one part more than its own."""
    everything = list(parts)
    mine = [act(part) for part in everything[rank() :: world_size()]]
    found: list[Any] = [None] * len(everything)
    for number, theirs in enumerate(gather(mine)):
        found[number :: world_size()] = theirs
    return found


def all_reduce_sum(tensor: torch.Tensor) -> torch.Tensor:
    """Sums `tensor` over ranks, in place, and returns it."""
    if world_size() > 1:
        dist.all_reduce(tensor, op=dist.ReduceOp.SUM)
    return tensor


def greatest(count: int, device: torch.device) -> int:
    """The greatest `count` of all ranks, on every rank. Waits for the device."""
    if world_size() == 1:
        return count
    box = torch.tensor(count, device=device)
    dist.all_reduce(box, op=dist.ReduceOp.MAX)
    return int(box.item())


def share_buffers(module: torch.nn.Module) -> None:
    """Gives every rank rank 0's buffers (batch normalisation's statistics), which are what is saved and tested."""
    if world_size() == 1:
        return
    alike: dict[torch.dtype, list[torch.Tensor]] = {}
    for buffer in module.buffers():
        alike.setdefault(buffer.dtype, []).append(buffer)
    for buffers in alike.values():  # a message each
        flat = torch.cat([buffer.flatten() for buffer in buffers])
        dist.broadcast(flat, src=0)
        for buffer, part in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(part.view_as(buffer))


def barrier() -> None:
    """Waits until every rank is here."""
    if world_size() > 1:
        dist.barrier()


def is_echo(error: BaseException) -> bool:
    """Whether an error only says that another rank is gone or silent: the cause is what happened there."""
    if world_size() == 1 or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or any(
        word in str(error) for word in ("gloo", "Gloo", "Connection closed by peer")
    )


def on_main(act: Callable[[], T]) -> T:
    """What `act` gives on rank 0, on every rank; what it raises there, all raise, so that none waits for the others."""
    result: Any = None
    error: Exception | None = None
    if is_main():
        try:
            result = act()
        except Exception as problem:
            error = problem
    words = f"{error}" if isinstance(error, UserError) else f"on rank 0: {type(error).__name__}: {error}"
    result, words, mistake = broadcast((result, words if error else "", isinstance(error, UserError)))
    if error is not None:
        raise error
    if words:
        raise UserError(words) if mistake else RunFailed(words)
    return result
