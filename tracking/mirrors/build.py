"""From MIRRORS of the config to mirrors, and what is wrong there, said before there is a run."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from tracking.mirrors import MIRRORS, Mirror
from utils.errors import UserError
from utils.registry import nearest


def named(entry: Any) -> tuple[str, dict[str, Any]]:
    """(name, arguments) of an entry of MIRRORS: a name, or {name: {argument: value}}.

    Raises:
        UserError: it is something else.
    """
    if isinstance(entry, str):
        return entry, {}
    name, arguments = next(iter(entry.items()), ("", None))
    if len(entry) != 1 or not isinstance(arguments, dict):
        raise UserError(f"MIRRORS: a mirror is a name or {{name: {{argument: value}}}}, got {dict(entry)!r}")
    return str(name), dict(arguments)


def make_mirror(name: str, arguments: dict[str, Any]) -> Mirror:
    """The mirror `name`, not yet started.

    Raises:
        UserError: an unknown name or argument, or a library that is not installed.
    """
    kind = MIRRORS.get(name)
    parameters = inspect.signature(kind).parameters
    for argument in arguments:
        if argument not in parameters:
            takes = f" ({', '.join(parameters)})" if parameters else ""
            raise UserError(f"MIRRORS: {name} takes no {argument!r}{nearest(argument, list(parameters))}{takes}")
    mirror: Mirror = kind(**arguments)
    spec = find_spec(mirror.library) if mirror.library else None
    if mirror.library and (spec is None or spec.origin is None):  # a folder of that name (wandb/ is one) is no library
        raise UserError(f"MIRRORS: {name} needs a library that is not installed (pip install {mirror.library})")
    return mirror


def check_mirrors(entries: Sequence[Any]) -> None:
    """What starting the mirrors would find wrong.

    Raises:
        UserError: as `make_mirror`, or a mirror that is named twice.
    """
    names = [named(entry)[0] for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"MIRRORS: {name} stands there {names.count(name)} times; once is enough")
    for entry in entries:
        make_mirror(*named(entry))
