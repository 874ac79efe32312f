"""From a pattern to its table: the index beside each shard, or else one scan of the shard that is kept."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, NamedTuple

import numpy

from data.dataset import class_order
from data.shards import index as indices
from data.shards.copies import Copies, CopyFailed
from data.shards.index import Index
from data.shards.places import AT_ONCE, Place, asked, open_store, read
from data.shards.table import Table, open_table, write_table
from data.shards.tar import Found, Torn, scan
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.data")
CLASSES = "classes.txt"  # beside shards: the names of their classes, one a line, the first is number 0


class Kept(NamedTuple):
    """What is kept of an index while the table is made: where it can be read again, and little else."""

    path: str
    samples: int
    kind: str
    classes: tuple[str, ...]
    highest: int
    torn: str


class Gatherer:
    """Makes tables below `folder`; `copies` keeps what has to be read of remote shards (None: nothing is kept)."""

    def __init__(self, folder: Path, copies: Copies | None) -> None:
        self.folder, self.copies = folder, copies
        self._scans = 0

    def table(self, said: str, places: Sequence[Place]) -> Table:
        """The table of these shards, `said` in messages.

        Raises:
            UserError: no sample, targets of several kinds, damaged indices, unfit classes, or a shard that cannot be asked for.
            OSError: the folder cannot be written.
        """
        names = read(f"{places[0].url.rpartition('/')[0] or '.'}/{CLASSES}")
        classes = [line.strip() for line in (names or b"").decode("utf-8", "replace").splitlines() if line.strip()]
        key = [[self._identity(place) for place in places], classes]
        return open_table(self.folder / "tables", key, lambda aside: self._make(said, places, classes, aside))

    def _make(self, said: str, places: Sequence[Place], named: list[str], aside: Path) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            kept = list(pool.map(self._index, places))
        if not sum(one.samples for one in kept):
            raise UserError(f"{said}: no sample with an image; {places[0].url} is {kept[0].torn or 'a tar without any'}")
        kind, classes = _agreed(said, places, kept, named)

        def all_of_them() -> Iterator[tuple[str, Index]]:
            for place, one in zip(places, kept, strict=True):
                found = indices.decode(read(one.path) or b"", one.path)
                yield place.name, _renumbered(found, kind, classes)

        write_table(aside, kind, classes, [one.samples for one in kept], all_of_them())

    def _identity(self, place: Place) -> tuple[str, ...]:
        return tuple(map(str, place if place.remote else place._replace(url=os.path.abspath(place.url))))

    def _index(self, place: Place) -> Kept:
        """The index beside a shard, the one kept from an earlier scan, or that of a scan now."""
        beside = place.url + indices.SUFFIX
        key = hashlib.sha256(repr(self._identity(place)).encode()).hexdigest()[:24]
        own = self.folder / "indices" / f"{key}{indices.SUFFIX}"
        content = read(beside)
        if content is not None:
            found, path = indices.decode(content, beside), beside
            if place.remote:
                path = _keep(found, own)
            return _kept(found, path)
        if own.exists():
            with contextlib.suppress(UserError):  # a damaged one of our own is made again
                return _kept(indices.decode(own.read_bytes(), str(own)), str(own))
        found = self._scanned(place)
        self._scans += 1
        if self._scans % 100 == 0:
            LOG.info("%d shards without an index were scanned, which is done once", self._scans)
        return _kept(found, _keep(found, own))

    def _scanned(self, place: Place) -> Index:
        """What is in a shard without an index, up to where it is torn: what its bytes say, never what a connection does."""
        samples: list[Found] = []
        torn = "no such file"
        if not place.missing:
            torn = asked(place.url, lambda: self._walk(place, samples))
        try:
            return indices.make(samples, (), (), {"torn": torn})
        except ValueError as error:
            raise UserError(f"{place.url}: {error}; a .cls is the number or name of a class, a .json names a target") from error

    def _walk(self, place: Place, samples: list[Found]) -> str:
        """Appends the samples, those before a tear too; what is torn, or ""."""
        try:
            with self._open(place) as file:
                for sample in scan(file):
                    samples.append(sample)  # those before a tear are kept
        except Torn as error:
            return str(error)
        return ""

    def _open(self, place: Place) -> IO[bytes]:
        if not place.remote:
            return open(place.url, "rb")
        if self.copies is not None:
            try:
                copy = self.copies.fetch(place)
            except CopyFailed as error:
                raise UserError(f"{error}; nothing of it is kept, start again") from error
            assert copy is not None, "it was waited for"
            return open(copy, "rb")
        system, path = open_store(place.url)
        opened: IO[bytes] = system.open(path, "rb", block_size=2**22)
        return opened


def _keep(found: Index, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    found.save(path)
    return str(path)


def _kept(found: Index, path: str) -> Kept:
    numbers = found.labels if found.kind == "labels" else found.targets
    highest = int(numbers.max(initial=-1)) if found.kind != "value" else -1
    return Kept(path, len(found), found.kind, tuple(found.classes), highest, found.facts.get("torn", ""))


def _agreed(said: str, places: Sequence[Place], kept: Sequence[Kept], named: list[str]) -> tuple[str, list[str]]:
    """(kind, classes) of all shards that have samples.

    Raises:
        UserError: they do not agree, or a target is none of the classes.
    """
    some = [(place, one) for place, one in zip(places, kept, strict=True) if one.samples]
    first = some[0][1]
    for place, one in some:
        if one.kind != first.kind:
            raise UserError(f"{said}: a target of {place.url} is a {one.kind}, one of {some[0][0].url} a {first.kind}")
    if first.kind == "value":
        return "value", []
    lists = {one.classes for _, one in some} - {()}
    highest = max(one.highest for _, one in some)
    if named:
        classes = named
    elif len(lists) == 1:
        classes = list(lists.pop())
    elif lists:
        classes = class_order({name for names in lists for name in names})
    else:
        classes = [str(number) for number in range(highest + 1)]
    for place, one in some:
        if not one.classes and one.highest >= len(classes):
            raise UserError(f"{said}: {place.url} has a target {one.highest}, there are {len(classes)} classes")
        unknown = set(one.classes) - set(classes)
        if unknown:
            raise UserError(f"{said}: {place.url} has the class {min(unknown)!r}, which {CLASSES} beside it does not name")
    return first.kind, classes


def _renumbered(found: Index, kind: str, classes: list[str]) -> Index:
    """Targets as numbers of `classes`."""
    if kind == "value" or not found.classes or list(found.classes) == classes:
        return found
    places = {name: number for number, name in enumerate(classes)}
    numbers = numpy.array([*(places[name] for name in found.classes), -1], dtype=numpy.int32)  # -1 stays -1
    if kind == "labels":
        return replace(found, labels=numbers[found.labels])
    return replace(found, targets=numbers[found.targets])
