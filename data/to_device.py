"""From the host to a CUDA device without waiting: out of pinned memory, on a stream beside the one that computes.

Pinned memory comes from torch's allocator, which notes each copy out of a block and gives the block again only when that
copy is done. So nothing overwrites pixels that are still on their way, and the loader may use its own buffer again at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

Batch = dict[str, Any]


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; from the CPU to a CUDA device the copy is only asked for, in the order of the current stream.
    Others are waited for: on MPS a copy that is not may read memory that holds the next batch already."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    pinned = torch.empty_like(tensor, pin_memory=True)  # without the gaps that a view may have, else it would not go at once
    return pinned.copy_(tensor).to(device, non_blocking=True)


class Side(Protocol):
    """What copying beside the computing takes of a device."""

    def copy(self, tensor: Tensor) -> Tensor: ...
    def record(self) -> Any: ...
    def wait(self, event: Any) -> None: ...
    def keep(self, tensor: Tensor) -> None: ...


class SideStream:
    """A stream of a CUDA device on which batches are copied while another one computes."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def copy(self, tensor: Tensor) -> Tensor:
        """The tensor on the device, once the copy that is asked for here is done."""
        with torch.cuda.stream(self.stream):
            return sent(tensor, self.device)

    def record(self) -> torch.cuda.Event:
        """Comes to pass when all copies so far are done."""
        return self.stream.record_event()

    def wait(self, event: torch.cuda.Event) -> None:
        """What is computed from now on comes after `event`; the host goes on at once."""
        torch.cuda.current_stream(self.device).wait_event(event)

    def keep(self, tensor: Tensor) -> None:
        """Its memory is not given to another copy before what is computed of it by now is done."""
        tensor.record_stream(torch.cuda.current_stream(self.device))


def copied_ahead(batches: Iterable[Batch], side: Side) -> Iterator[Batch]:
    """The batches on the device; while one is used the next is on its way. What making a batch raises comes in its turn, after
    the batch before it."""
    before: tuple[Batch, Any] | None = None
    failed: Exception | None = None
    try:
        for batch in batches:
            moved = {key: side.copy(value) if isinstance(value, Tensor) else value for key, value in batch.items()}
            here, before = before, (moved, side.record())
            if here is not None:
                yield _received(*here, side)
    except Exception as error:
        failed = error
    if before is not None:
        yield _received(*before, side)
    if failed is not None:
        raise failed


def _received(batch: Batch, event: Any, side: Side) -> Batch:
    side.wait(event)
    for value in batch.values():
        if isinstance(value, Tensor):
            side.keep(value)
    return batch
