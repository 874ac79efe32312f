"""Named tensors: how two sets differ by names, shapes, types, and what of them is here. Knows nothing of torch but names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differences(own: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """`2 missing (a, b), 1 of another shape (c: 3x4, here 3x5)`: what `given` lacks or has otherwise; "" if they fit."""
    common = [name for name in own if name in given and _is_tensor(own[name]) and _is_tensor(given[name])]
    shapes = [n for n in common if tuple(own[n].shape) != tuple(given[n].shape)]
    types = [n for n in common if n not in shapes and own[n].dtype != given[n].dtype]
    kinds = {
        "missing": [name for name in own if name not in given],
        "unexpected": [name for name in given if name not in own],
        "of another shape": [f"{n}: {_size(given[n])}, here {_size(own[n])}" for n in shapes],
        "of another type": [f"{n}: {given[n].dtype}, here {own[n].dtype}" for n in types],
    }
    parts = [
        f"{len(names)} {kind} ({', '.join(names[:4])}{', ...' * (len(names) > 4)})" for kind, names in kinds.items() if names
    ]
    return ", ".join(parts)


def local(tensor: Any) -> Any:
    """This rank's part of a sharded tensor, in the same memory; any other tensor is itself."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _size(value: Any) -> str:
    return "x".join(map(str, value.shape)) or "one value"
