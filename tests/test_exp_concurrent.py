"""Many processes start and write at once, readers and rebuilds between them: nothing is lost, and nobody waits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, read_json

STEPS, WRITERS = 300, 8
WRITER = """
import os, sys, pathlib
sys.path.insert(0, {root!r})
folder = pathlib.Path({folder!r})
written = set()

def watch(event, args):
    if event == "sqlite3.connect":
        written.add(event)
    if event.startswith("fcntl"):
        written.add(os.readlink(f"/proc/self/fd/{{args[0]}}"))
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        written.add(str(args[0]))

sys.addaudithook(watch)
import tracking
facts = tracking.Facts(
    root=pathlib.Path({code!r}), name="many", config="SEED: 0\\n",
    config_digest="d", origins={{}}, seed=0, command=[],
)
run = tracking.start_run(folder, facts)
for step in range({steps}):
    run.log(step, 0, {{f"m{{i}}": step + i / 10 for i in range(10)}})
    if step % 50 == 0:
        run.update(metrics={{"val/top1": step / 1000}}, step=step, primary_metric="val/top1")
run.finish("finished")
foreign = [p for p in written if run.id not in p and ".starting-many-" not in p]
assert not foreign, foreign
print(run.id)
"""


@pytest.mark.slow
def test_eight_writers_a_reader_and_a_rebuild_lose_nothing(tmp_path: Path) -> None:
    folder, code = tmp_path / "exp", tmp_path / "code"
    (code / "tools").mkdir(parents=True)
    (code / "tools" / "train_net.py").write_text("print()\n")
    text = WRITER.format(root=str(ROOT), folder=str(folder), code=str(code), steps=STEPS)
    writers = [subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) for _ in range(WRITERS)]
    readings = 0
    while any(writer.poll() is None for writer in writers) or readings < 2:
        for words in (["ls", "--json"], ["reindex", "--json"]):
            reader = [sys.executable, "tools/exp.py", *words, "--output-dir", str(folder)]
            folder.mkdir(exist_ok=True)
            done = subprocess.run(reader, cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
            json.loads(done.stdout)
        readings += 1
    names = [writer.communicate()[0].strip() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * WRITERS and len(set(names)) == WRITERS
    for name in names:
        rows = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(STEPS)) and all(len(row) == 13 for row in rows)
        assert read_json(folder / name / "status.json")["metrics"]["val/top1"]["last"] == 0.25
    listed = subprocess.run(
        [sys.executable, "tools/exp.py", "ls", "--json", "--output-dir", str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert {row["id"]: row["status"] for row in json.loads(listed.stdout)} == dict.fromkeys(names, "finished")
