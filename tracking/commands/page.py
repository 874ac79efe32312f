"""`exp.py` report and serve: the records as a page."""

from __future__ import annotations

import argparse
import gc
import shlex
import sys
from pathlib import Path
from typing import Any

from tracking.commands import answers
from tracking.reading import index, query
from utils import files
from utils.errors import UserError


def report(args: argparse.Namespace) -> int:
    """Writes the page into a folder."""
    from tracking.page.write import write

    runs = answers.all_runs(args)
    rows = _chosen(runs, args)
    folder = Path(args.to) if args.to else args.folder / ".report"
    if not args.to and not args.folder.is_dir():
        raise UserError(f"{args.folder}: no such folder; tools/train_net.py makes runs there")
    page = write(runs, rows, folder)
    size = page.stat().st_size
    count = f"{len(rows)} run{'' if len(rows) == 1 else 's'}"
    said = f"{count} on a page of {files.size(size)}; open it in a browser:\n{page.resolve().as_uri()}"
    return answers.answer(args, {"page": str(page), "runs": len(rows), "bytes": size}, said)


def serve(args: argparse.Namespace) -> int:
    """Shows the page on this machine until it is stopped."""
    from tracking.page.serve import make_server

    _chosen(index.load(args.folder, write=False), args)  # a wrong RUN is said now, not to the browser
    server = make_server(args.folder, args.port, lambda runs: _chosen(runs, args))
    gc.enable()  # switched off for commands that end soon
    host, port = server.server_address[:2]
    url = f"http://{host!s}:{port}/"
    said = f"the runs of {shlex.quote(str(args.folder))} at {url}  (on this machine only; Ctrl-C ends it)"
    answers.answer(args, {"url": url}, said)
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        server.server_close()
    return 0


def _chosen(runs: Any, args: argparse.Namespace) -> list[Any]:
    """Those that are named, or all, oldest first, as far as they fulfil the conditions."""
    ids = {row["id"] for row in answers.named(runs, args.runs)}
    rows = [row for row in runs.rows if not args.runs or row["id"] in ids]
    return query.select(runs, rows, args.where)
