"""What lies where in a tar of the WebDataset form: members of one name up to the first dot are one sample."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from data.images import SUFFIXES

BLOCK = tarfile.BLOCKSIZE  # bytes of a header, and what the content of a member is filled up to
LABELS = ("cls", "json")
_FIELDS = ("target", "targets", "label", "labels", "cls")  # of a .json, the first that is there


class Found(NamedTuple):
    """The image of a sample within a shard: the member's name, the first byte of its content, its size in bytes; and the label:
    the number or name of a class, a list of such, a float, or None where there is none."""

    name: str
    offset: int
    size: int
    label: Any


class Torn(Exception):
    """The archive is no tar, or not whole; the message says what is wrong, without its name."""


def scan(file: IO[bytes]) -> Iterator[Found]:
    """The samples that have an image, in order. Only headers and labels are read.

    Raises:
        Torn: after the samples before the damage were given.
    """
    try:
        archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115  who opened the file closes it
    except tarfile.TarError as error:
        raise Torn(f"no uncompressed tar ({error})") from error
    size = file.seek(0, 2)
    key = ""
    parts: dict[str, tarfile.TarInfo] = {}
    while (member := _next(archive)) is not None:
        if member.offset_data + member.size > size:
            raise Torn(f"cut short within {member.name}")
        if not member.isfile():
            continue
        folder, _, last = member.name.rpartition("/")
        stem, _, suffix = last.partition(".")
        if not stem:  # .DS_Store and the like
            continue
        if f"{folder}/{stem}" != key:
            yield from _sample(file, parts)
            key, parts = f"{folder}/{stem}", {}
        parts.setdefault(suffix.lower(), member)
    yield from _sample(file, parts)
    file.seek(archive.offset)
    if file.read(BLOCK) != bytes(BLOCK):
        raise Torn(f"cut short or damaged at byte {archive.offset}: the mark of the archive's end is missing")


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        member = archive.next()
    except tarfile.TarError as error:
        raise Torn(f"cut short or damaged ({error})") from error
    archive.members = []  # type: ignore[attr-defined]  # it would keep them all
    return member


def _sample(file: IO[bytes], parts: dict[str, tarfile.TarInfo]) -> Iterator[Found]:
    image = next((member for suffix, member in parts.items() if f".{suffix}" in SUFFIXES), None)
    if image is None:
        return
    label = next((_label(file, parts[suffix], suffix) for suffix in LABELS if suffix in parts), None)
    yield Found(image.name, image.offset_data, image.size, label)


def _label(file: IO[bytes], member: tarfile.TarInfo, suffix: str) -> Any:
    file.seek(member.offset_data)
    try:
        text = file.read(member.size).decode().strip()
        if suffix == "cls":
            return int(text) if text.lstrip("-").isdigit() else text or None
        fields = json.loads(text)
    except ValueError as error:
        raise Torn(f"{member.name} is no label ({error})") from error
    return next((fields[name] for name in _FIELDS if name in fields), None) if isinstance(fields, dict) else fields


def header(name: str, size: int) -> bytes:
    """The 512 bytes before a member's content. Time and owner are left out, so that equal content gives equal bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def padding(size: int) -> bytes:
    """What follows the content of a member of that size."""
    return bytes(-size % BLOCK)


END = bytes(2 * BLOCK)  # the mark of an archive's end
