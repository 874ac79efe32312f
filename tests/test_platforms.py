"""What differs between systems is said in one line, or makes no difference."""

from __future__ import annotations

import pytest
from conftest import ROOT, command, newest, read_json

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
import multiprocessing, runpy, sys
if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    sys.platform, sys.argv = "darwin", ["tools/train_net.py", *sys.argv[1:]]
    runpy.run_path("tools/train_net.py", run_name="__main__")
"""


@pytest.mark.parametrize("tool", TOOLS)
def test_native_windows_is_refused_in_one_line(tool: str) -> None:
    done = command("-c", AS_ON_WINDOWS.format(tool=tool))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "WSL 2" in done.stderr
