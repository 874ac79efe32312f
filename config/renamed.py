"""Keys that once had another name: what was written for older code is read as of today.

A YAML says `VERSION: n` for which code it was written; a run's config.yml always does. Whoever renames or removes a key adds
a row here and, where an old file could be misread otherwise, raises VERSION in defaults.py.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from logging import getLogger
from typing import Any, NamedTuple

from yaml.nodes import MappingNode

from utils.errors import UserError

LOG = getLogger("fieldbook.config")
Pairs = dict[str, tuple[Any, str]]  # dotted key -> (value, "file:line")


class Renamed(NamedTuple):
    """One key that is no more. It is moved where today's code does not know it, or where the file is older than `since`.

    Attributes:
        new: its name today; empty: it was removed.
        since: the VERSION that has it so; 0: a key of yours, for which no VERSION stands.
        convert: the old value -> the value today, such as "yes" -> True; what it raises is told as a value that does not fit.
        instead: of a removed key, what to do in its place.
    """

    old: str
    new: str = ""
    since: int = 0
    convert: Callable[[Any], Any] | None = None
    instead: str = ""


# Yours: rows for the keys that you rename in this project. An update of the template leaves them alone.
OURS: Sequence[Renamed] = ()


def renew(pairs: Pairs, known: Collection[str], version: int = 0) -> Pairs:
    """`pairs` of one file (or one command line) under today's names; each that was moved is warned of, once a process.

    Args:
        known: today's keys.
        version: that the file was written for; 0: not said, so a name that is a key today means that key.

    Raises:
        UserError: old and new name are both given, or the value has no counterpart.
    """
    renewed: Pairs = {}
    spelled: dict[str, str] = {}
    for key, (value, where) in pairs.items():
        name, value = _today(key, value, where, known, version)
        if name in spelled:
            raise UserError(f"{where}: {spelled[name]} and {key} are the same key; keep {name} alone")
        renewed[name], spelled[name] = (value, where), key
    left = {row.old.partition(".")[0] for row in _table()} - {key.partition(".")[0] for key in known}
    return {key: pair for key, pair in renewed.items() if not (key in left and pair[0] is MappingNode)}


def instead_of(key: str) -> str:
    """What is done in place of a removed key, as the end of a sentence; empty where the table does not know it."""
    return next((row.instead for row in _table() if row.old == key and not row.new), "")


def _table() -> list[Renamed]:
    return sorted([*OURS, *RENAMED], key=lambda row: row.since)


def _today(key: str, value: Any, where: str, known: Collection[str], version: int) -> tuple[str, Any]:
    """Name and value today; rows of later versions go on with what earlier ones gave."""
    name, renewed = key, value
    for row in _table():
        if row.old == name and row.new and (name not in known or 0 < version < row.since):
            try:
                renewed = row.convert(renewed) if row.convert else renewed
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise UserError(f"{where}: {key} {value!r} has no counterpart in {row.new}, which took its place") from error
            name = row.new
    if renewed is not value and renewed != value:  # a NaN is not even equal to itself
        _say(where, f"{key} {value!r}", f"{name} {renewed!r}")
    elif name != key:
        _say(where, key, name)
    return name, renewed


@lru_cache(maxsize=1000)  # a config is read several times a run
def _say(where: str, old: str, new: str) -> None:
    LOG.warning("%s: %s is %s now and is taken as that; write the new one", where, old, new)


# The template's own, the newest last. None yet.
RENAMED: Sequence[Renamed] = ()
