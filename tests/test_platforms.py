"""What differs between systems is said in one line, or makes no difference."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TINY, command, newest, read_json
from PIL import Image

TOOLS = sorted(p.name for p in (ROOT / "tools").glob("*.py") if not p.name.startswith("_"))
AS_ON_WINDOWS = """
import runpy, sys
for name in ("fcntl", "resource", "termios"):
    sys.modules[name] = None  # importing it fails
sys.path.insert(0, "tools")
sys.platform, sys.argv = "win32", ["tools/{tool}"]
runpy.run_path("tools/{tool}", run_name="__main__")
"""
AS_ON_MACOS = """
import multiprocessing, runpy, sys, types
if __name__ == "__main__":
    sys.path[:0] = ["tools", "."]
    multiprocessing.set_start_method("spawn")
    from data.loaders import processes
    processes.sys = types.SimpleNamespace(platform="darwin")
    sys.argv = ["tools/train_net.py", *sys.argv[1:]]
    runpy.run_path("tools/train_net.py", run_name="__main__")
"""


@pytest.mark.parametrize("tool", TOOLS)
def test_native_windows_is_refused_in_one_line(tool: str) -> None:
    done = command("-c", AS_ON_WINDOWS.format(tool=tool))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "WSL 2" in done.stderr


@pytest.mark.slow
def test_worker_processes_that_are_started_anew_give_the_same_batches(tmp_path: Path) -> None:
    """As on macOS, where nothing is forked; what they are sent has to be picklable."""
    folder = tmp_path / "images"
    for number in range(16):
        file = folder / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (10 * number, 90, 20)).save(file)
    (tmp_path / "spawned.py").write_text(AS_ON_MACOS)
    words = [
        str(tmp_path / "spawned.py"), "DATASETS.TRAIN", f"image_folder:{folder}", "DATASETS.VAL_FRACTION", "0", "TEST.AT_END",
        "false", "TEST.FIGURES", "false", "MODEL.NAME", "softmax", "INPUT.TRANSFORMS_TRAIN", "[RandomHorizontalFlip]",
        "SOLVER.IMS_PER_BATCH", "4", "SOLVER.MAX_EPOCHS", "1", "SOLVER.LOG_PERIOD", "1", "MODEL.DEVICE", "cpu", "--output-dir",
        str(tmp_path / "exp"),
    ]  # fmt: skip
    losses = []
    for workers in ("2", "0"):
        done = command(
            *words, "--name", f"workers_{workers}", "DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", workers
        )
        assert done.returncode == 0, done.stderr
        rows = (newest(tmp_path / "exp") / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(row).get("train/loss") for row in rows])
    assert losses[0] == losses[1] and len(losses[0]) >= 3


@pytest.mark.slow
def test_closed_streams_do_no_harm(tmp_path: Path) -> None:
    script = f'exec "{sys.executable}" tools/train_net.py "$@" <&- >&- 2>&-'
    words = [*TINY, "SOLVER.MAX_EPOCHS", "1", "--output-dir", str(tmp_path / "exp")]
    assert subprocess.run(["bash", "-c", script, "_", *words], cwd=ROOT).returncode == 0
    run = newest(tmp_path / "exp")
    assert read_json(run / "status.json")["status"] == "finished"
    assert all(json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines())
