"""weights/manifest.json: which contents each file may have, so that a file is known to be good before it is used.

    {"last.pt": {"sha256": ..., "step": 120, "metric": 0.97}}

A new content is *announced* before the file is renamed, under "pending", and *settled* after it. Whenever a kill comes,
the file that lies there has a digest that the manifest knows: that of the last settled content, or a pending one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from utils.files import write_json

MANIFEST = "manifest.json"
Version = dict[str, Any]  # sha256, step, metric


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """File name -> its settled version and "pending"; empty where there is none or it is broken."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    entries = content.items() if isinstance(content, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, dict)}


def is_lost(folder: Path) -> bool:
    """Whether there is a manifest that cannot be read."""
    return (folder / MANIFEST).exists() and not read_manifest(folder)


def versions(entry: dict[str, Any]) -> list[Version]:
    """What the file may hold: the settled version, if there is one, then the pending ones."""
    pending = entry.get("pending", [])
    found = [entry, *(pending if isinstance(pending, list) else [])]
    return [v for v in found if isinstance(v, dict) and isinstance(v.get("sha256"), str) and isinstance(v.get("step"), int)]


def announce(folder: Path, name: str, version: Version) -> None:
    """Before the rename. Earlier pending versions stay: after several kills in a row one of them may be what lies there."""
    manifest = read_manifest(folder)
    entry = manifest.get(name, {})
    pending = versions({"pending": entry.get("pending", [])})
    _write(folder, {**manifest, name: {**entry, "pending": [*pending, version]}})


def settle(folder: Path, name: str, version: Version) -> None:
    """After the rename: the file is this version and no other."""
    _write(folder, {**read_manifest(folder), name: version})


def forget(folder: Path, name: str) -> None:
    """After the file was deleted."""
    _write(folder, {other: entry for other, entry in read_manifest(folder).items() if other != name})


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    write_json(folder / MANIFEST, manifest)
