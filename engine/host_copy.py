"""A copy of nested state in host memory: what is written to disk while training goes on changing the original."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from utils.states import local

PLAIN = (type(None), bool, int, float, str, bytes)


class HostCopy:
    """Copies state into buffers that are kept, so that only the first copy pays for memory.

    From a CUDA device the tensors go into pinned memory, all at once, and their devices are waited for at the end. A tensor
    that stands at two places of the state stands at the same two places of the copy.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._seen: dict[tuple[Any, ...], Tensor] = {}

    def take(self, state: dict[str, Any]) -> dict[str, Any]:
        """The copy. It holds until the next `take`, which uses the same memory.

        Raises:
            TypeError: something in it is neither a tensor nor a plain type, so that it could not be loaded again with
                weights_only=True; the message names where it stands.
        """
        self._seen = {}
        copied = self._copy(state, "")
        for number in {key[2] for key in self._seen if key[1] == "cuda"}:
            torch.cuda.current_stream(number).synchronize()  # each device has a stream of its own
        used = {id(buffer) for buffer in self._seen.values()}
        self._buffers = {where: buffer for where, buffer in self._buffers.items() if id(buffer) in used}
        self._seen = {}
        return copied

    def _copy(self, value: Any, where: str) -> Any:
        # Exact types: a subclass (numpy.float64 is a float) would be refused when the file is loaded.
        if type(value) in PLAIN:
            return value
        if isinstance(value, Tensor):
            return self._copy_tensor(value.detach(), where)
        if isinstance(value, dict):
            for key in value:
                if type(key) not in PLAIN:
                    raise TypeError(
                        f"{where or 'the state'}: a key of type {type(key).__name__} cannot be saved; use str or int"
                    )
            return {key: self._copy(part, f"{where}.{key}" if where else str(key)) for key, part in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self._copy(part, f"{where}[{i}]") for i, part in enumerate(value))
        if type(value) is set:
            return {self._copy(part, f"{where}{{}}") for part in value}
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(f"{where}: {kind} cannot be saved; a state holds tensors, numbers, strings, lists, tuples and dicts")

    def _copy_tensor(self, tensor: Tensor, where: str) -> Tensor:
        if tensor.layout is not torch.strided:
            return tensor.to("cpu", copy=True)
        # The version is no part of it: nothing changes the tensors while they are copied.
        key = (tensor.data_ptr(), tensor.device.type, tensor.device.index, tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and key in self._seen:
            return self._seen[key]
        buffer = self._buffers.get(where)
        if buffer is None or (buffer.dtype, buffer.shape) != (tensor.dtype, tensor.shape):
            # empty_like keeps the order of the dimensions in memory (channels_last).
            buffer = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)
            self._buffers[where] = buffer
        buffer.copy_(tensor, non_blocking=tensor.is_cuda)
        self._seen[key] = buffer
        return buffer


def tensor_bytes(state: Any) -> int:
    """Bytes of all tensors in a nested state, each counted once: what its file needs, but for a few kB. Of sharded ones this
    rank's part counts."""
    seen: dict[tuple[Any, ...], int] = {}

    def count(value: Any) -> None:
        if isinstance(value, Tensor):
            value = local(value)
            seen[value.data_ptr(), value.device, value.shape, value.dtype] = value.numel() * value.element_size()
        elif isinstance(value, dict | list | tuple):
            for part in value.values() if isinstance(value, dict) else value:
                count(part)

    count(state)
    return sum(seen.values())
