"""`exp.py serve`: the same page from 127.0.0.1, made of the records whenever it is asked for. It only reads."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tracking.page.document import data_file, document
from tracking.page.overview import overview
from tracking.page.run_data import ODD, CodeStore, name_of, run_data
from tracking.page.text import as_json
from tracking.reading import index
from tracking.reading.index import Runs
from tracking.reading.summary import Row
from utils.errors import UserError

HOST = "127.0.0.1"
_DATA = re.compile(r"/data/(run|code|blob)/([0-9a-f]{16})\.js")
_PICTURES = {f".{kind}": f"image/{kind}" for kind in ("png", "jpeg", "webp", "gif")}
_PICTURES |= {".jpg": "image/jpeg", ".svg": "image/svg+xml"}
_TEXTS = {".txt", ".yml", ".yaml", ".md", ".json", ".jsonl", ".csv", ".py", ".log", ".sha256"}
Choose = Callable[[Runs], list[Row]]


class Source:
    """The records, as the page asks for them."""

    def __init__(self, folder: Path, choose: Choose) -> None:
        self.folder, self.choose = folder, choose
        self._lock = threading.Lock()
        self._news = (b"", "")

    def read(self) -> tuple[Runs, list[Row]]:
        """The runs as they are now."""
        with self._lock:
            runs = index.load(self.folder, write=False)
            return runs, self.choose(runs)

    def news(self) -> tuple[bytes, str]:
        """The overview as JSON, made anew only where a record changed, and a tag of the state that it is of."""
        runs, rows = self.read()
        state = repr([(row["id"], row["status"], runs.signs.get(row["id"])) for row in rows])
        tag = f'"{hashlib.sha256(os.fsencode(state)).hexdigest()[:16]}"'
        if self._news[1] != tag:
            self._news = (as_json(overview(runs, rows)).encode(), tag)
        return self._news

    def data(self, kind: str, key: str) -> Any:
        """What a file of the report would hold; KeyError where there is no such thing."""
        runs, rows = self.read()
        if kind == "run":
            return run_data(runs, next(row for row in rows if name_of(row["id"]) == key))
        store = CodeStore(runs)
        for row in rows:
            with suppress(*ODD):
                store.add(row)
        if kind == "code":
            return store.files(key)
        if key not in store.differing():
            raise KeyError(key)
        return store.text(key)


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    source: Source
    server_version, sys_version = "Fieldbook", ""

    def do_GET(self) -> None:
        """The page, its data, or a file of a run."""
        if not self._is_meant():
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = urlsplit(self.path).path
        try:
            if path in ("/", "/index.html"):
                runs, rows = self.source.read()
                self._send("text/html; charset=utf-8", document(overview(runs, rows), "files/", live=True).encode())
            elif path == "/data/overview.json":
                self._send_news(*self.source.news())
            elif match := _DATA.fullmatch(path):
                text = data_file(match[1], match[2], self.source.data(match[1], match[2]))
                self._send("text/javascript", text.encode())
            elif path.startswith("/files/"):
                self._send_file(unquote(path.removeprefix("/files/"), errors="surrogateescape"))
            else:
                self.send_error(HTTPStatus.NOT_FOUND)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the browser went on to something else
        except (StopIteration, OSError, UserError, *ODD):  # gone, moved to the trash meanwhile, or an odd record
            self.send_error(HTTPStatus.NOT_FOUND)

    do_HEAD = do_GET

    def _is_meant(self) -> bool:
        """A name of somebody else's that was made to point here (DNS rebinding) is not ours; nor is another page's request."""
        port = int(self.server.server_address[1])  # type: ignore[index]
        end = "" if port == 80 else f":{port}"
        own = self.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        followed = self.headers.get("Sec-Fetch-Mode") == "navigate"  # a link that somebody followed
        return self.headers.get("Host") in (f"{HOST}{end}", f"localhost{end}") and (own or followed)

    def _send_news(self, body: bytes, tag: str) -> None:
        """The overview, or 304 where it is what the page has."""
        if self.headers.get("If-None-Match") == tag:
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.end_headers()
            return
        self._send("application/json", body, ETag=tag)

    def _send_file(self, name: str) -> None:
        """A file of a run: what is no picture and no text is a download, and nothing in it may run."""
        top = self.source.folder.resolve()
        parts = name.split("/")
        if len(parts) < 2 or any(part in ("", ".", "..") or part[0] == "." or "\0" in part or "\\" in part for part in parts):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        run, path = (top / parts[0]).resolve(), (top / name).resolve()  # a run may be a link; one that leads out of it is none
        is_run = any((run / file).is_file() for file in ("status.json", "run.json"))
        if not is_run or run not in path.parents or not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        kind = _PICTURES.get(path.suffix.lower(), "text/plain; charset=utf-8" if path.suffix.lower() in _TEXTS else "")
        rest = {} if kind else {"Content-Disposition": "attachment"}
        with open(path, "rb") as file:
            size = path.stat().st_size
            self._head(kind or "application/octet-stream", size, **{"Content-Security-Policy": "sandbox"}, **rest)
            while self.command == "GET" and size > 0 and (block := file.read(min(size, 1 << 16))):  # it may be growing
                self.wfile.write(block)
                size -= len(block)

    def _send(self, kind: str, body: bytes, **headers: str) -> None:
        self._head(kind, len(body), **headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, kind: str, size: int, **headers: str) -> None:
        self.send_response(HTTPStatus.OK)
        fixed = {"Content-Type": kind, "Content-Length": str(size), "Cache-Control": "no-store"}
        safe = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
        for key, value in {**fixed, **safe, "Cross-Origin-Resource-Policy": "same-origin", **headers}.items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for each request helps nobody."""


def make_server(folder: Path, port: int, choose: Choose) -> ThreadingHTTPServer:
    """A server that listens on 127.0.0.1 and not yet answers.

    Args:
        port: 0 takes a free one.

    Raises:
        UserError: the port cannot be had.
    """
    handler = type("RunsHandler", (Handler,), {"source": Source(folder, choose)})
    try:
        server = ThreadingHTTPServer((HOST, port), handler)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"port {port} of {HOST} cannot be had ({reason}); --port 0 takes a free one") from error
    server.daemon_threads = True
    return server
