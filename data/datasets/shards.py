"""`shards:PATTERN`: WebDataset tars such as `shards:data/train-{000..099}.tar`, on disk or behind any URL of fsspec."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy
from torch import Tensor

from data.dataset import Dataset
from data.datasets import DATASETS
from data.datasets.image_folder import ImageFiles
from data.images import Choose, Finish, read_image
from data.shards.copies import Copies
from data.shards.gather import Gatherer
from data.shards.places import Place, find
from data.shards.reading import Reader
from data.shards.table import Table, kept_for_now
from utils import files
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.data")


class ShardImages(ImageFiles):
    """Images of shards, each read by its place in one of them. Nothing is held of a sample but, for a part of a set, its row.

    Args:
        rows: of the table, one a sample; None: all of them.
    """

    def __init__(self, name: str, table: Table, reader: Reader, rows: numpy.ndarray | None = None) -> None:
        super().__init__(name, (), Targets(table, rows), table.classes)
        self.table, self.reader, self.rows = table, reader, rows

    @cached_property
    def pieces(self) -> numpy.ndarray:  # type: ignore[override]
        """The number of each sample's shard."""
        starts = self.table.starts
        shards = numpy.repeat(numpy.arange(len(starts) - 1, dtype=numpy.int32), numpy.diff(starts))
        return shards if self.rows is None else shards[self.rows]

    def part(self, indices: Sequence[int] | numpy.ndarray) -> Dataset:
        """Some of its samples, as a data set of their own."""
        chosen = numpy.asarray(indices, dtype=numpy.uint32)
        return ShardImages(self.name, self.table, self.reader, chosen if self.rows is None else self.rows[chosen])

    def _read(self, index: int, choose: Choose | None = None, finish: Finish | None = None) -> Tensor:
        row, table, name = self._row(index), self.table, self.path(index)
        shard, offset, size, checksum = table.shard(row), table.offsets[row], table.sizes[row], table.checksums[row]

        def contents() -> memoryview:
            return self.reader.read(shard, int(offset), int(size), int(checksum), name)

        return read_image(name, self.channels, choose, finish, contents=contents)

    def _row(self, index: int) -> int:
        return index if self.rows is None else int(self.rows[index])

    def path(self, index: int) -> str:
        """SHARD:NAME, the name being that of the file that was packed, or else that in the shard."""
        row = self._row(index)
        return f"{self.reader.places[self.table.shard(row)].url}:{self.table.name(row)}"

    def digest(self) -> str:
        """The table's; of a part with its rows."""
        if self.rows is None:
            return self.table.digest
        return hashlib.sha256(self.table.digest.encode() + self.rows.astype(numpy.int64).tobytes()).hexdigest()[:16]


class Targets(Sequence[Any]):
    """The targets of some rows of a table, as a data set has them, without an object for each."""

    CHUNK = 4096

    def __init__(self, table: Table, rows: numpy.ndarray | None) -> None:
        self.table, self.rows = table, rows

    def __len__(self) -> int:
        return len(self.table) if self.rows is None else len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        row = index if self.rows is None else self.rows[index]
        return self._plain(self.table.targets[row : row + 1] if row >= 0 else self.table.targets[row:][:1])[0]

    def __iter__(self) -> Iterator[Any]:
        for first in range(0, len(self), self.CHUNK):
            here = slice(first, min(first + self.CHUNK, len(self)))
            yield from self._plain(self.table.targets[here if self.rows is None else self.rows[here]])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
        values = self.table.targets if self.rows is None else self.table.targets[self.rows]
        return numpy.asarray(values, dtype=dtype)

    def _plain(self, values: numpy.ndarray) -> list[Any]:
        if self.table.kind == "labels":
            bits = numpy.unpackbits(values, axis=1, count=len(self.table.classes) + 1)
            return [tuple(row[:-1].nonzero()[0].tolist()) if row[-1] else None for row in bits]
        known = values >= 0 if self.table.kind == "class" else values == values
        plain: list[Any] = values.tolist()
        return plain if known.all() else [value if there else None for value, there in zip(plain, known, strict=True)]


@DATASETS.register("shards")
def shards(
    place: str,
    root: str,
    train: bool,
    seed: int,
    cache_gb: float = 50.0,
    window: int = 16,
    skip_bad: bool = False,
    max_bad: float = 0.01,
) -> Dataset | None:
    """All shards of a pattern, with braces and wildcards, in order of name; what tools/pack.py makes has an index beside each,
    others are scanned once. Name others in DATASETS.TEST. Tables, scans and copies of remote shards go to `root`/.cache.

    Raises:
        UserError: nothing matches; a shard is missing, torn or of other classes than the others, or cannot be asked for; the
            cache is too small.
    """
    if not train:
        return None
    said, limit, cache = f"shards:{place}", cache_gb * 1e9, Path(root, ".cache", "shards")
    places = find(place)
    _check_room(said, places, limit, window)
    copies = Copies(cache / "copies", limit) if limit else None
    try:
        table = Gatherer(cache, copies).table(said, places)
    except OSError as error:
        LOG.warning("%s: cannot be written (%s): indices are gathered again in each process", cache, error.strerror or error)
        table = Gatherer(kept_for_now(), None).table(said, places)
    whole = ShardImages(said, table, Reader(places, copies, [shard["sha256"] for shard in table.shards]))
    packed = {shard["of"] for shard in table.shards}
    if len(packed) == 1 and len(places) < max(packed):
        LOG.warning("%s: %d of the %d shards that were packed together", said, len(places), max(packed))
    if 0 < window < len(places) and packed == {0} and by_class(table):
        LOG.warning(
            "%s: most shards lack most classes, and %d of %d are mixed at a time: set DATASETS.SHARD_WINDOW 0, which mixes all",
            said, window, len(places),
        )  # fmt: skip
    return _whole_ones(whole, places, skip_bad, max_bad)


def by_class(table: Table, shards: int = 50) -> bool:
    """Whether most shards have less than half of the classes that as many samples of the whole would have; judged by some
    of them."""
    if table.kind != "class":
        return False
    some = numpy.unique(numpy.linspace(0, len(table.starts) - 2, shards).astype(int))
    counts = [_counts(table, number) for number in some]
    rates = numpy.sum(counts, axis=0) / max(numpy.sum(counts), 1)
    poor = [(count > 0).sum() < 0.5 * (1 - (1 - rates) ** count.sum()).sum() for count in counts]
    return sum(poor) > len(poor) / 2


def _counts(table: Table, shard: int) -> numpy.ndarray:
    """How many samples of each class a shard has."""
    targets = table.targets[slice(*table.starts[shard : shard + 2])]
    return numpy.bincount(targets[targets >= 0], minlength=len(table.classes))


def _check_room(said: str, places: Sequence[Place], limit: float, window: int) -> None:
    sizes = sorted((place.size for place in places if place.remote), reverse=True)
    if not limit or not sizes:
        return
    if sizes[0] > limit:
        raise UserError(f"{said}: DATASETS.CACHE_GB {limit / 1e9:g} is less than a shard, {files.size(sizes[0])}; raise it, or 0")
    if sum(sizes) > limit and sum(sizes[: window or len(sizes)]) > limit:
        LOG.warning(
            "%s: DATASETS.CACHE_GB %g holds fewer shards than are mixed at a time (DATASETS.SHARD_WINDOW %d): they will be "
            "copied several times an epoch", said, limit / 1e9, window,
        )  # fmt: skip


def _whole_ones(dataset: ShardImages, places: Sequence[Place], skip_bad: bool, max_bad: float) -> Dataset:
    """The samples of shards that are what they were when they were indexed; of those cut short what is left.

    Raises:
        UserError: a shard is not whole and that is an error, or too many samples are lost.
    """
    table, complaints, uncounted = dataset.table, [], 0
    lost: list[numpy.ndarray] = []
    for number, (place, facts) in enumerate(zip(places, table.shards, strict=True)):
        here = slice(*table.starts[number : number + 2])
        missing, short = place.missing, bool(facts["bytes"] and place.size and place.size != facts["bytes"])
        if not (missing or short or facts["torn"]):
            continue
        torn = f"{files.size(place.size)} where {files.size(facts['bytes'])} were packed" if short else facts["torn"]
        complaints.append(f"{place.url}: {'no such shard' if missing else torn}")
        uncounted += not facts["bytes"]  # nothing says what it held
        if missing or short:
            ends = table.offsets[here] + table.sizes[here]
            lost.append(here.start + numpy.flatnonzero(ends > place.size))
    if not complaints:
        return dataset
    said = f"{'; '.join(complaints[:5])}{', ...' if len(complaints) > 5 else ''}"
    if not skip_bad:
        raise UserError(f"{said}; fetch or pack {'it' if len(complaints) == 1 else 'them'} again, or set DATALOADER.BAD_SAMPLES skip")
    rows = numpy.concatenate([numpy.empty(0, dtype=numpy.int64), *lost])
    if len(rows) > max_bad * len(dataset):
        raise UserError(
            f"{said}: {len(rows)} of {len(dataset)} samples are lost, more than DATALOADER.MAX_BAD {max_bad:g} allows; fetch or "
            "pack them again"
        )
    unknown = ""
    if uncounted:
        unknown = f", and an unknown number in {uncounted} without an index, not held against DATALOADER.MAX_BAD"
    LOG.warning("left out: %s (%d samples of %s%s)", said, len(rows), dataset.name, unknown)
    return dataset.part(numpy.delete(numpy.arange(len(dataset)), rows)) if len(rows) else dataset
