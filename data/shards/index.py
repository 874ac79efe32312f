"""The index of one shard: where each sample lies in the tar, its checksum and its target. A .npz that NumPy reads."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from data.dataset import class_order
from data.shards.tar import Found
from utils.errors import UserError
from utils.files import write_atomic

SUFFIX = ".index"  # of the file beside a shard
VERSION = 1
_UNLABELLED = {"class": -1, "value": float("nan"), "labels": -1}


@dataclass
class Index:
    """Of N samples of one shard.

    Attributes:
        kind: of the targets: "class", "labels" or "value".
        classes: names; () where targets are numbers of classes without a name.
        offsets, sizes: N int64 and N uint32, bytes.
        checksums: N uint32, the CRC-32 of each image; 0 where it is not known.
        targets: N int32 class numbers (-1: no label) or N float32 values (NaN: no label); of "labels" how many classes each
            sample has (-1: no label).
        labels: int32, of "labels" the numbers of all samples' classes, end to end.
        names: N texts joined by line feeds: where each sample comes from.
        facts: what else is known of the shard; of packed ones "bytes" and "sha256" of the tar.
    """

    kind: str
    classes: Sequence[str]
    offsets: numpy.ndarray
    sizes: numpy.ndarray
    checksums: numpy.ndarray
    targets: numpy.ndarray
    labels: numpy.ndarray
    names: bytes
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.offsets)

    def encode(self) -> bytes:
        """The content of its file: equal for equal indices."""
        about = {"version": VERSION, "kind": self.kind, "classes": list(self.classes), **self.facts}
        stream = io.BytesIO()
        numpy.savez(
            stream,
            about=numpy.frombuffer(json.dumps(about, ensure_ascii=False, sort_keys=True).encode(), dtype=numpy.uint8),
            offsets=self.offsets,
            sizes=self.sizes,
            checksums=self.checksums,
            targets=self.targets,
            labels=self.labels,
            names=numpy.frombuffer(self.names, dtype=numpy.uint8),
        )
        return stream.getvalue()

    def save(self, path: Path) -> None:
        """Writes it, whole or not at all."""
        write_atomic(path, self.encode())


def decode(content: bytes, name: str) -> Index:
    """The index from the content of its file, `name` in messages.

    Raises:
        UserError: it is damaged, or of another version.
    """
    try:
        with numpy.load(io.BytesIO(content), allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            fields = {key: arrays[key] for key in ("offsets", "sizes", "checksums", "targets", "labels")}
            names = arrays["names"].tobytes()
        version, kind, classes = about.pop("version"), about.pop("kind"), about.pop("classes")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{name}: a damaged index ({error}); pack the shard again with tools/pack.py") from error
    if version != VERSION:
        raise UserError(f"{name}: an index of version {version}, this code reads {VERSION}; pack again with tools/pack.py")
    return Index(kind, classes, names=names, facts=about, **fields)


def make(samples: Sequence[Found], checksums: Sequence[int], classes: Sequence[str], facts: dict[str, Any]) -> Index:
    """The index of these samples; targets that are names are numbered: by `classes`, or by the names that are there.

    Raises:
        ValueError: labels of several kinds, or a name that is none of `classes`.
    """
    labels = [sample.label for sample in samples]
    kind = _kind(labels)
    flat = [one for label in labels if label is not None for one in (label if kind == "labels" else [label])]
    if kind != "value" and any(isinstance(one, str) for one in flat):
        classes = classes or class_order({str(one) for one in flat})
        numbers = {name: number for number, name in enumerate(classes)}
        unknown = next((str(one) for one in flat if str(one) not in numbers), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} is no class")
        flat = [numbers[str(one)] for one in flat]
    if kind == "labels":
        targets: list[Any] = [-1 if label is None else len(label) for label in labels]
    else:
        given = iter(flat)
        targets = [_UNLABELLED[kind] if label is None else next(given) for label in labels]
    return Index(
        kind,
        classes,
        numpy.array([sample.offset for sample in samples], dtype=numpy.int64),
        numpy.array([sample.size for sample in samples], dtype=numpy.uint32),
        numpy.array(checksums or [0] * len(samples), dtype=numpy.uint32),
        numpy.array(targets, dtype=numpy.float32 if kind == "value" else numpy.int32),
        numpy.array(flat if kind == "labels" else [], dtype=numpy.int32),
        "\n".join(" ".join(sample.name.splitlines()) for sample in samples).encode("utf-8", "surrogateescape"),
        facts,
    )


def _kind(labels: Sequence[Any]) -> str:
    kinds = {_kind_of(label) for label in labels if label is not None}
    if len(kinds) > 1:
        raise ValueError(f"labels of several kinds: {', '.join(sorted(kinds))}")
    return kinds.pop() if kinds else "class"


def _kind_of(label: Any) -> str:
    if isinstance(label, list | tuple):
        if all(isinstance(one, str | int) for one in label):
            return "labels"
    elif isinstance(label, float):
        return "value"
    elif isinstance(label, str | int):
        return "class"
    raise ValueError(f"{str(label)[:40]!r} is no label")
