"""Image files into shards: `NAME-000000.tar`, ... with the index beside each. Equal files give equal bytes.

The samples are drawn into the shards in a fixed random order, so that each shard is a fair sample of the whole: training mixes
only some shards at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from data.datasets.image_folder import ImageFiles
from data.images import BadSample, Region, read_image
from data.randomness import ORDER, generator
from data.shards import index as indices
from data.shards import tar
from data.shards.tar import Found
from utils import files
from utils.errors import UserError


@dataclass(frozen=True)
class Source:
    """The files of one split.

    Attributes:
        name: of the split, and of its shards.
        root: the folder that they all lie below.
        origins: their paths below it.
        labels: of each, a class number or a list of class names.
        classes: names.
        unlabelled: how many files were left out because they have no label.
    """

    name: str
    root: Path
    origins: Sequence[str]
    labels: Sequence[Any]
    classes: Sequence[str]
    unlabelled: int = 0


@dataclass(frozen=True)
class Shard:
    """What one shard is to hold: rows of the source, numbered from `first` on; `plan` is a digest of what makes its bytes."""

    name: str
    of: int
    first: int
    rows: Sequence[int]
    plan: str


@dataclass
class Outcome:
    """What became of a shard: whether it was there and kept, and what could not be read (origin, reason)."""

    shard: Shard
    kept: bool
    samples: int
    bytes: int
    sha256: str
    bad: list[tuple[str, str]] = field(default_factory=list)


def source_of(dataset: ImageFiles, name: str) -> Source:
    """The files of a data set that have a label."""
    chosen = [row for row, target in enumerate(dataset.targets) if target is not None]
    paths = [os.path.normpath(dataset.files[row]) for row in chosen]
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths]) if paths else "."
    origins = [os.path.relpath(os.path.abspath(path), root) for path in paths]
    labels = [dataset.targets[row] for row in chosen]
    if dataset.target_kind == "labels":
        labels = [[dataset.classes[number] for number in label] for label in labels]
    return Source(name, Path(root), origins, labels, dataset.classes, len(dataset.targets) - len(chosen))


def plan(source: Source, *, shard_bytes: int = 0, shard_samples: int = 0) -> list[Shard]:
    """The shards of a source: each of `shard_samples`, or as many as fit `shard_bytes` (one at least)."""
    count = len(source.origins)
    order = generator(0, ORDER, 0).permutation(count)
    sizes = numpy.array([_about(source.root / origin)[0] for origin in source.origins], dtype=numpy.int64)
    if shard_samples:
        cuts = list(range(0, count, shard_samples))
    else:
        taken = tar.BLOCK * (3 + -(-sizes[order] // tar.BLOCK))  # image and label, each with its header
        cuts, room = [], 0
        for number, size in enumerate(taken.tolist()):
            if not cuts or size > room:
                cuts.append(number)
                room = shard_bytes
            room -= size
    shards = []
    for number, (first, last) in enumerate(zip(cuts, [*cuts[1:], count], strict=True)):
        rows, name = order[first:last].tolist(), f"{source.name}-{number:06}.tar"
        facts = [[source.origins[row], int(sizes[row]), source.labels[row]] for row in rows]
        content = json.dumps([indices.VERSION, name, len(cuts), first, list(source.classes), facts])
        shards.append(Shard(name, len(cuts), first, rows, hashlib.sha256(content.encode()).hexdigest()[:16]))
    return shards


def check_folder(folder: Path, source: Source, shards: Sequence[Shard]) -> None:
    """Deletes what a killed packing left.

    Raises:
        UserError: shards of this name lie there that do not belong to the plan: they would be taken for a part of the set.
    """
    files.sweep(folder)
    planned = {shard.name: shard.plan for shard in shards}
    for path in sorted([*folder.glob(f"{source.name}-*.tar"), *folder.glob(f"{source.name}-*.tar{indices.SUFFIX}")]):
        name = path.name.removesuffix(indices.SUFFIX)
        known = planned.get(name)
        if known is not None and path.name != name:
            known = planned[name] if _index_of(path).facts.get("plan") == known else None
        if known is None:
            raise UserError(
                f"{path} is of another packing: other files, another split into shards, or files that have changed since; "
                "take another folder, or remove its shards and their indices"
            )


def pack(source: Source, shard: Shard, folder: Path) -> Outcome:
    """Writes a shard and its index, unless both are there, whole, and no older than the files.

    Raises:
        OSError: the folder cannot be written.
    """
    path, beside = folder / shard.name, folder / f"{shard.name}{indices.SUFFIX}"
    found = _finished(source, shard, path, beside)
    if found is not None:
        return Outcome(shard, True, len(found), found.facts["bytes"], found.facts["sha256"])
    beside.unlink(missing_ok=True)
    aside = files.temporary_beside(path)
    samples: list[Found] = []
    checksums: list[int] = []
    bad: list[tuple[str, str]] = []
    digest = hashlib.sha256()
    try:
        with open(aside, "wb") as file:

            def put(content: bytes | memoryview) -> None:
                digest.update(content)
                file.write(content)

            for number, row in enumerate(shard.rows, shard.first):
                origin = source.origins[row]
                try:
                    data = whole_image(source.root / origin)
                except BadSample as error:
                    bad.append((origin, str(error)))
                    continue
                offset = file.tell() + tar.BLOCK
                for name, content in members(f"{number:09}", origin, data, source.labels[row]):
                    for piece in (tar.header(name, len(content)), content, tar.padding(len(content))):
                        put(piece)
                samples.append(Found(origin, offset, len(data), source.labels[row]))
                checksums.append(zlib.crc32(data))
            put(tar.END)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    size = path.stat().st_size
    left_out = [name for name, _ in bad]
    facts = {"bytes": size, "sha256": digest.hexdigest(), "of": shard.of, "plan": shard.plan, "left_out": left_out}
    indices.make(samples, checksums, source.classes, facts).save(beside)
    return Outcome(shard, False, len(samples), size, digest.hexdigest(), bad)


def members(key: str, origin: str, data: bytes, label: Any) -> Iterator[tuple[str, bytes]]:
    """Name and content of the members of a sample: the image as it is, and a .cls or, of several classes, a .json."""
    yield f"{key}{Path(origin).suffix.lower()}", data
    if isinstance(label, list):
        yield f"{key}.json", json.dumps({"targets": label}, ensure_ascii=False).encode()
    else:
        yield f"{key}.cls", str(label).encode()


def whole_image(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        BadSample: it cannot be read, or is no image that training could use.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadSample(f"{path}: {(error.strerror or str(error)).lower()}") from error
    read_image(path, 3, _small, contents=lambda: memoryview(bytearray(data)))
    return data


def _small(height: int, width: int) -> Region:
    """The whole image at an eighth: as much is read of the file, and less is computed."""
    return Region(0, 0, height, width, (max(height // 8, 1), max(width // 8, 1)))


def _finished(source: Source, shard: Shard, path: Path, beside: Path) -> indices.Index | None:
    """The index of a shard that need not be written again."""
    if not path.is_file() or not beside.is_file():
        return None
    found, about = _index_of(beside), path.stat()
    if found.facts["left_out"] or found.facts["bytes"] != about.st_size:
        return None
    if any(_about(source.root / source.origins[row])[1] > about.st_mtime_ns for row in shard.rows):
        return None
    return found if files.sha256_file(path) == found.facts["sha256"] else None


def _index_of(path: Path) -> indices.Index:
    return indices.decode(path.read_bytes(), str(path))


def _about(path: Path) -> tuple[int, int]:
    """Bytes, and when it was changed (ns); 0 and 0 of a file that is not there."""
    try:
        about = path.stat()
    except OSError:
        return 0, 0
    return about.st_size, about.st_mtime_ns
