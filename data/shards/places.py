"""Which shards a pattern names, on disk or behind a URL of fsspec."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from data.shards.index import SUFFIX
from utils.errors import UserError

AT_ONCE = 16  # requests to a store
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_STAMPS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "md5Hash", "created")


class Place(NamedTuple):
    """One shard.

    Attributes:
        url: a path, or a URL of fsspec.
        size: bytes; 0 of a URL: the store does not say.
        stamp: what changes when the file is written again, as far as is known.
        missing: there is no such file.
    """

    url: str
    size: int = 0
    stamp: str = ""
    missing: bool = False

    @property
    def remote(self) -> bool:
        """Whether it is read through fsspec."""
        return is_url(self.url)

    @property
    def name(self) -> str:
        """Its last part."""
        return self.url.rpartition("/")[2]


def find(pattern: str) -> list[Place]:
    """The shards of a pattern with braces ({000..009}, {a,b}) and, within these, wildcards (*, ?, [0-9]); those of wildcards
    by name. A shard of which only the index is there is one too, a missing one.

    Raises:
        UserError: it is no pattern, matches nothing, names a shard twice, or the store cannot be asked.
    """
    said = f"shards:{pattern}"
    if not pattern:
        raise UserError("shards: names no shards; write shards:PATTERN, such as shards:data/train-*.tar")
    urls: list[str] = []
    for one in expand(pattern):
        found = _matching(one, said) if glob.has_magic(one) else [one]
        if not found:
            raise UserError(f"{said}: no shard matches{f' {one}' if one != pattern else ''}; tools/pack.py makes them")
        urls += found
    twice = next((url for url in urls if urls.count(url) > 1), None) if len(set(urls)) < len(urls) else None
    if twice is not None:
        raise UserError(f"{said}: {twice} is named twice")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        places = list(pool.map(lambda url: asked(said, lambda: look(url)), urls))
    if all(place.missing for place in places):
        hint = "write shards:PATTERN, such as shards:data/train-*.tar" if len(places) == 1 else "tools/pack.py makes them"
        folder = os.path.isdir(pattern)
        raise UserError(f"{said}: {f'a folder; write shards:{pattern}/*.tar' if folder else f'no such shard; {hint}'}")
    return places


def expand(pattern: str) -> list[str]:
    """`a-{08..10}.tar` -> `a-08.tar`, `a-09.tar`, `a-10.tar`; `{a,b}.tar` -> `a.tar`, `b.tar`.

    Raises:
        UserError: braces that do not close, or hold neither a range that rises nor a list.
    """
    match = _BRACES.search(pattern)
    if match is None:
        if "{" in pattern or "}" in pattern:
            raise UserError(f"shards:{pattern}: its braces do not close; write {{000..009}} or {{a,b}}")
        return [pattern]
    inner, bounds = match[1], _RANGE.fullmatch(match[1])
    if bounds is not None and int(bounds[1]) <= int(bounds[2]):
        options = [f"{number:0{len(bounds[1])}}" for number in range(int(bounds[1]), int(bounds[2]) + 1)]
    elif "," in inner:
        options = inner.split(",")
    else:
        raise UserError(f"shards:{pattern}: {{{inner}}} is neither a rising range, such as 000..009, nor a list, such as a,b")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [one for option in options for one in expand(head + option + tail)]


def look(url: str) -> Place:
    """A shard as it lies there now.

    Raises:
        OSError: the store cannot be asked.
    """
    if not is_url(url):
        try:
            about = os.stat(url)
        except (FileNotFoundError, NotADirectoryError):
            return Place(url, missing=True)
        return Place(url, missing=True) if os.path.isdir(url) else Place(url, about.st_size, str(about.st_mtime_ns))
    system, path = open_store(url)
    try:
        facts = system.info(path)
    except FileNotFoundError as error:
        cause = error.__cause__
        if cause is not None and not isinstance(cause, FileNotFoundError) and getattr(cause, "status", 0) not in (404, 410):
            raise cause from None  # fsspec calls a web server that does not answer, or fails, a file that is not there
        return Place(url, missing=True)
    if facts.get("type") == "directory":
        return Place(url, missing=True)
    stamp = next((str(facts[name]) for name in _STAMPS if facts.get(name)), "")
    return Place(url, int(facts.get("size") or 0), stamp)


def read(url: str) -> bytes | None:
    """The content of a small file; None where there is none.

    Raises:
        UserError: the store cannot be asked.
    """

    def get() -> bytes | None:
        try:
            if is_url(url):
                system, path = open_store(url)
                return bytes(system.cat_file(path))
            with open(url, "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None

    found: bytes | None = asked(url, get)
    return found


def is_url(text: str) -> bool:
    """Whether fsspec reads it."""
    return "://" in text


def open_store(url: str) -> tuple[Any, str]:
    """(file system, path in it) of a URL, anew in each process: what a fork has copied of a connection is of no use.

    Raises:
        UserError: fsspec, or what it needs for this kind of URL, is not installed, or there is no such kind.
    """
    try:
        import fsspec
    except ImportError as error:
        raise UserError(f"{url}: URLs need fsspec; pip install fsspec") from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url}: {' '.join(str(error).split())[:160]}") from error
    return system, path


def _matching(pattern: str, said: str) -> list[str]:
    """What wildcards match, and what an index that they match is of."""
    both = (pattern, pattern + SUFFIX)
    if not is_url(pattern):
        found: Iterable[str] = [path for one in both for path in glob.glob(one)]
    else:
        system, path = open_store(pattern)
        listed = asked(said, lambda: [one for end in ("", SUFFIX) for one in system.glob(path + end)])
        found = [system.unstrip_protocol(one) for one in listed]
    return sorted({path.removesuffix(SUFFIX) for path in found if path.removesuffix(SUFFIX).endswith(".tar")})


def asked(said: str, ask: Callable[[], Any]) -> Any:
    """What `ask` gets of a store or disk.

    Raises:
        UserError: in place of whatever else it raises.
    """
    try:
        return ask()
    except UserError:
        raise
    except Exception as error:  # each store has kinds of its own
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        hint = ""
        if isinstance(error, PermissionError) or getattr(error, "status", 0) == 403:
            hint = "; stores that forbid listing say so of missing files, too"
        raise UserError(f"{said}: cannot be asked for ({type(error).__name__}: {reason}){hint}") from error
