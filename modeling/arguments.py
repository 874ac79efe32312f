"""Factories called with what they name: facts of the data and of the config, and arguments that somebody wrote by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from utils.errors import UserError
from utils.registry import Registry, nearest

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a name"),
    "bool": ((bool,), "true or false"),
    "dict[str, Any] | None": ((dict,), "{argument: value}"),
}


def call(factory: Callable[..., Any], facts: dict[str, Callable[[], Any]], args: dict[str, Any], what: str) -> Any:
    """Calls a factory with `args` and with those of `facts` that it names; the others are not even read, and so reported
    where set.

    Raises:
        UserError: the factory knows an argument not, or not such a kind of value of it.
    """
    parameters = inspect.signature(factory).parameters
    for name, value in args.items():
        if name not in parameters or name in facts:
            free = [known for known in parameters if known not in facts]
            raise UserError(f"{what}: no argument {name!r}{nearest(name, free)} (there are: {', '.join(free) or 'none'})")
        types, kind = _KINDS.get(str(parameters[name].annotation), ((object,), ""))
        if not isinstance(value, types) or (isinstance(value, bool) and kind and bool not in types):
            raise UserError(f"{what}: {name} has to be {kind}, not {value!r}")
    return factory(**{name: read() for name, read in facts.items() if name in parameters}, **args)


def takes(factory: Callable[..., Any], argument: str) -> bool:
    """Whether a factory names `argument`."""
    return argument in inspect.signature(factory).parameters


def takers(registry: Registry, argument: str) -> str:
    """The names of the factories that take `argument`."""
    return ", ".join(n for n in registry.names() if takes(registry.get(n), argument))


def check_choice(what: str, value: str, known: Sequence[str]) -> None:
    """Raises UserError where `value` is none of `known`."""
    if value not in known:
        raise UserError(f"{what}: unknown {value!r}{nearest(value, list(known))} (there are: {', '.join(known)})")


def check_range(what: str, value: float, least: float, most: float = float("inf")) -> None:
    """Raises UserError where `value` is not a number from `least` to `most`."""
    if not least <= value <= most:
        raise UserError(f"{what}: has to be {least:g} {'or more' if most == float('inf') else f'to {most:g}'}, not {value!r}")
