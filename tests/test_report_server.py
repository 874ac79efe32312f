"""exp.py serve: gives the page and the files of runs, and nothing else, to nobody else."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from test_report_page import four_runs

from tracking.page.serve import make_server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of four runs."""
    return four_runs(tmp_path / "exp")


@pytest.mark.slow
def test_serve_says_where_it_is_and_ends_in_order(folder: Path) -> None:
    words = [sys.executable, "tools/exp.py", "serve", "--port", "0", "--json", "--output-dir", str(folder)]
    started = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert started.stdout
        with urllib.request.urlopen(json.loads(started.stdout.readline())["url"], timeout=120) as answer:
            assert b"Fieldbook report" in answer.read()
        assert [path.name for path in folder.iterdir() if path.name[0] == "."] == []  # it only reads
        started.send_signal(signal.SIGINT)
        assert started.communicate(timeout=120) == ("", "") and started.returncode == 0
    finally:
        started.kill()


@pytest.fixture
def ask(folder: Path) -> Iterator[Any]:
    """`ask(path, **headers)` of a server of these runs: (status, headers, body)."""
    server = make_server(folder, 0, lambda runs: runs.rows)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]

    def request(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        line.putrequest(method, path, skip_host=True)
        for name, value in {"Host": f"127.0.0.1:{port}", **{k.replace("_", "-"): v for k, v in headers.items()}}.items():
            line.putheader(name, value)
        line.endheaders()
        answer = line.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    yield request
    server.shutdown()
    server.server_close()


def test_the_server_gives_the_page_and_the_files_of_runs(ask: Any, folder: Path) -> None:
    status, headers, body = ask("/")
    assert status == 200 and b'"live":true' in body and headers["x-content-type-options"] == "nosniff"
    status, headers, body = ask("/data/overview.json")
    assert status == 200 and len(json.loads(body)["runs"]) == 4
    assert ask("/data/overview.json", If_None_Match=headers["etag"])[0] == 304
    first = json.loads(body)["runs"][0]
    assert ask(f"/data/run/{first['file']}.js")[2].startswith(b'page.data.arrive("run"')
    manifest = ask(f"/data/code/{first['code']}.js")[2]
    digest = re.search(rb'modeling/net.py\\":\\"(\w+)', manifest)
    assert digest and b"WIDTH = 8" in ask(f"/data/blob/{digest[1].decode()}.js")[2]
    status, headers, body = ask(f"/files/{first['id']}/log.txt")
    assert (status, body) == (200, b"first line\nlast line\n") and headers["content-security-policy"] == "sandbox"
    (folder / first["id"] / "figures").mkdir()
    (folder / first["id"] / "figures" / "x.html").write_text("<script>alert(1)</script>")
    assert ask(f"/files/{first['id']}/figures/x.html")[1]["content-disposition"] == "attachment"
    assert ask("/", method="HEAD")[2] == b"" and ask("/", method="POST")[0] == 501


def test_the_server_gives_the_files_of_a_run_that_is_a_link(ask: Any, folder: Path) -> None:
    run = folder / "other_2026-11-01_04-00-00"
    run.rename(folder.parent / "large_disk")
    run.symlink_to(folder.parent / "large_disk")
    assert ask(f"/files/{run.name}/log.txt")[2] == b"first line\nlast line\n"
    run.rename(os.fsdecode(os.fsencode(folder) + b"/\xff"))
    assert ask("/files/%FF/log.txt")[0] == 200


def test_the_server_gives_nothing_outside_of_runs_and_answers_no_other_site(ask: Any, folder: Path) -> None:
    (folder.parent / "secret.txt").write_text("secret")
    run = folder / "base_2026-11-01_01-00-00"
    (run / "way.txt").symlink_to(folder.parent / "secret.txt")
    (run / ".hidden.txt").write_text("secret")
    (folder.parent / "secret").mkdir()
    (folder.parent / "secret" / "secret.txt").write_text("secret")
    (folder / "no_run").symlink_to(folder.parent / "secret")
    for path in (
        "/files/../secret.txt", "/files/%2e%2e/secret.txt", f"/files/{run.name}/../../secret.txt", f"/files/{run.name}/way.txt",
        f"/files/{run.name}/%2e%2e%2f%2e%2e%2fsecret.txt", f"/files/{run.name}/.hidden.txt", "/files/.index/index.sqlite",
        f"/files/{run.name}", f"/files/{run.name}/", "/files//etc/passwd", "/files/x%00/y", "/data/run/0123456789abcdef.js",
        "/data/blob/0123456789abcdef.js", "/data/code/0123456789abcdef.js", "/nothing", "//etc/passwd",
        "/files/no_run/secret.txt",
    ):  # fmt: skip
        status, _, body = ask(path)
        assert status == 404 and b"secret" not in body, path
    assert ask("/", Host="evil.example:80")[0] == 403
    assert ask("/data/overview.json", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")[0] == 403
