"""What tests share: the repository first on sys.path, commands in this process or in one of their own, small runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
SHARED = ROOT.parent / "shared" / "data"
# Before torch is imported: two test processes with two threads each get in each other's way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Processes keep their byte code, as a user's do: else each of hundreds compiles torch's sources again, for half of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A project, made by copier or cloned and renamed, writes its README, pages, recipes and releases as it likes.
of_the_template = pytest.mark.skipif(
    'name = "fieldbook"' not in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines(),
    reason="of the template's own papers",
)
needs_benchmarks = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="only the template has benchmarks")
TINY = [
    "DATASETS.TRAIN", "synthetic:96x1x8x8x4", "MODEL.NAME", "mlp", "MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "16",
    "SOLVER.MAX_EPOCHS", "3", "SOLVER.LOG_PERIOD", "2", "SOLVER.CHECKPOINT_PERIOD", "1", "NAME", "tiny",
]  # fmt: skip


@pytest.fixture
def shared() -> Path:
    """Real data; a test that needs it skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of real data beside the repository")
    return SHARED


@pytest.fixture
def train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Any]]:
    """`train(*words)` runs tools/train_net.py in this process into tmp_path/exp: (exit code, stderr, stdout)."""
    import _root
    import train_net

    def run(*words: str, main: Callable[..., int] = train_net.main) -> tuple[int, str, str]:
        capsys.readouterr()
        sys.argv = ["tool", *words, "--output-dir", str(tmp_path / "exp")]
        with pytest.raises(SystemExit) as end:
            _root.run_tool(main)
        output = capsys.readouterr()
        return int(end.value.code or 0), output.err, output.out

    yield run


def command(*words: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with this interpreter."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,  # for what hangs; a loaded machine is slow
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def newest(folder: Path) -> Path:
    """The newest run of a folder."""
    return max((p for p in folder.iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime_ns)


def read_json(path: Path) -> Any:
    """A JSON file's content."""
    return json.loads(path.read_text())
