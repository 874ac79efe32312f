"""`exp.py report`: the page and the files beside it. Written again, it writes only what changed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracking.page.document import MARK, data_file, document
from tracking.page.overview import overview
from tracking.page.run_data import ODD, CodeStore, name_of, run_data, signature
from tracking.page.text import as_url
from tracking.reading.index import Runs
from tracking.reading.summary import Row
from utils.errors import UserError
from utils.files import write_atomic

LAYOUT = 2  # of the files beside the page; others are written anew
_KINDS = ("run", "code", "blob")
_OURS = re.compile(rf"({'|'.join(_KINDS)})/[0-9a-f]{{16}}\.js")


@dataclass
class _Beside:
    """The files beside the page, and of what state of the records each was made."""

    folder: Path
    known: dict[str, str]
    made: dict[str, str] = field(default_factory=dict)

    def put(self, kind: str, key: str, sign: str, content: Callable[[], Any]) -> None:
        """Writes a file, unless it is there and was made of the same."""
        name = f"{kind}/{key}.js"
        if self.known.get(name) != sign or not (self.folder / name).is_file():
            (self.folder / name).write_text(data_file(kind, key, content()), encoding="ascii")
        self.made[name] = sign

    def sweep(self) -> None:
        """Deletes what was written once and is no longer of any use."""
        for name in filter(_OURS.fullmatch, set(self.known) - set(self.made)):
            with suppress(OSError):
                (self.folder / name).unlink()


def write(runs: Runs, rows: Sequence[Row], folder: Path) -> Path:
    """The page of `rows` in `folder`; where it lies.

    Raises:
        UserError: the folder holds another page, or cannot be written.
    """
    page = folder / "index.html"
    try:
        if page.exists() and MARK not in page.read_text(encoding="utf-8", errors="replace")[:2000]:
            raise UserError(f"{page} is no report; -o DIR names another folder")
        for kind in _KINDS:
            (folder / "data" / kind).mkdir(parents=True, exist_ok=True)
        _write_data(runs, rows, folder / "data")
        way = os.path.relpath(runs.folder.resolve(), folder.resolve())
        write_atomic(page, document(overview(runs, rows), f"{as_url(Path(way).as_posix())}/", live=False))
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written ({error.strerror or error})") from error
    return page


def _write_data(runs: Runs, rows: Sequence[Row], folder: Path) -> None:
    runs.parse()
    runs.load_configs(row["id"] for row in rows)
    beside = _Beside(folder, _read_signs(folder / "made.json"))
    store = CodeStore(runs)
    for row in rows:
        sign = f"{runs.signs.get(row['id'], '')}{signature(runs.path(row))}"
        try:
            beside.put("run", name_of(row["id"]), sign, lambda row=row: run_data(runs, row))  # type: ignore[misc]
            store.add(row)
        except ODD as error:  # one odd record must not keep the others from being seen
            row["problems"] = [*row["problems"], f"{runs.path(row)}: {type(error).__name__}: {str(error)[:200]}"]
    for key in store.copies():
        beside.put("code", key, "", lambda key=key: store.files(key))  # type: ignore[misc]
    for digest in store.differing():
        beside.put("blob", digest, "", lambda digest=digest: store.text(digest))  # type: ignore[misc]
    beside.sweep()
    (folder / "made.json").write_text(json.dumps({"layout": LAYOUT, "files": beside.made}), encoding="ascii")


def _read_signs(file: Path) -> dict[str, str]:
    """What an earlier report wrote; {} where there is none that can be used."""
    try:
        found = json.loads(file.read_text(encoding="ascii"))
        return dict(found["files"]) if found["layout"] == LAYOUT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
