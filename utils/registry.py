"""Name -> factory. A file put into the registry's folder registers what it defines; nothing else has to be edited."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from utils.errors import UserError

T = TypeVar("T", bound=Callable[..., Any])


def nearest(name: str, known: list[str]) -> str:
    """`"; did you mean a, b?"` for the names closest to `name`, in whatever case it was typed, or an empty string."""
    spelled = {one.casefold(): one for one in known}
    close = [spelled[one] for one in difflib.get_close_matches(name.casefold(), list(spelled), n=3, cutoff=0.6)]
    return f"; did you mean {', '.join(close)}?" if close else ""


class Registry:
    """Named factories of one kind.

    Args:
        kind: what the names are called in messages, such as "dataset".
        package: the package whose modules register themselves on import, such as "data.datasets".
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, Callable[..., Any]] = {}
        self._imported = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files a class or function under `name`; a name taken twice is a broken invariant."""

        def add(entry: T) -> T:
            known = self._entries.get(name)
            # The same definition may be imported again (a reloaded module); two different ones are a mistake.
            assert known is None or (known.__module__, known.__qualname__) == (entry.__module__, entry.__qualname__), (
                f"{self.kind} {name!r} is registered by {known.__module__} and by {entry.__module__}"
            )
            self._entries[name] = entry
            return entry

        return add

    def get(self, name: str) -> Callable[..., Any]:
        """The entry called `name`.

        Raises:
            UserError: nothing has that name; the message lists the nearest and all known ones.
        """
        if name not in self._entries:
            self._import_package()
        if name not in self._entries:
            known = self.names()
            raise UserError(f"unknown {self.kind} {name!r}{nearest(name, known)} (known: {', '.join(known)})")
        return self._entries[name]

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._import_package()
        return sorted(self._entries)

    def _import_package(self) -> None:
        if self._imported:
            return
        self._imported = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
