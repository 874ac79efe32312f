"""Arguments of transforms come from a YAML: they are checked where the transform is made."""

from __future__ import annotations

from typing import Any

from utils.errors import UserError


def whole_number(transform: str, argument: str, value: Any, least: int, greatest: int | None = None) -> int:
    """`value`, which has to be a whole number of `least` to `greatest`.

    Raises:
        UserError: it is not; the message names the transform, the argument and the range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (greatest is not None and value > greatest):
        span = f">= {least}" if greatest is None else f"of {least} to {greatest}"
        raise UserError(f"INPUT.TRANSFORMS_TRAIN: {transform} needs a whole number {span} as {argument}, got {value!r}")
    return value
