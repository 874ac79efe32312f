"""From the YAML's list of names to a list of transforms."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from data.transforms import TRANSFORMS
from data.transforms.adapter import TorchvisionTransform
from utils.errors import UserError
from utils.registry import nearest


def make_transforms(entries: Sequence[Any], defaults: dict[str, Any], key: str) -> list[Any]:
    """Transforms in order.

    Args:
        entries: names, or one-entry mappings {name: {argument: value}}.
        defaults: arguments for whichever transform takes them and is not given them.
        key: the config key, for messages.

    Raises:
        UserError: an unknown name or argument, or one that is missing.
    """
    return [_make(entry, defaults, key) for entry in entries]


def _make(entry: Any, defaults: dict[str, Any], key: str) -> Any:
    name, arguments = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()), ("", {}))
    if not isinstance(entry, str) and (len(entry) != 1 or not isinstance(arguments, dict)):
        raise UserError(f"{key}: a transform is a name or {{Name: {{argument: value}}}}, got {dict(entry)!r}")
    if name.startswith("torchvision/"):
        return TorchvisionTransform(name.removeprefix("torchvision/"), **arguments)
    kind = TRANSFORMS.get(name)
    parameters = inspect.signature(kind).parameters
    for argument in arguments:
        if argument not in parameters:
            raise UserError(
                f"{key}: {name} takes no {argument!r}{nearest(argument, list(parameters))} ({', '.join(parameters)})"
            )
    given = {k: v for k, v in defaults.items() if k in parameters and v not in ((), None)} | dict(arguments)
    missing = [k for k, p in parameters.items() if p.default is p.empty and k not in given]
    if missing:
        remedy = (
            "set INPUT.SIZE_TRAIN and INPUT.SIZE_TEST" if missing == ["size"] else f"give {{{name}: {{{missing[0]}: ...}}}}"
        )
        raise UserError(f"{key}: {name} needs {', '.join(missing)}; {remedy}")
    return kind(**given)
