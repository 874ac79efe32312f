"""Other libraries beside ours: which are installed, and each one's measurement in a process of its own.

pip install -e '.[bench]' installs those that are compared. One that is absent is named as such, one that fails says why.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.common import ROOT

# name in the tables: distribution
DISTRIBUTIONS = {
    "ignite": "pytorch-ignite",
    "accelerate": "accelerate",
    "timm style": "timm",
    "Lightning Fabric": "lightning",
    "Lightning barebones": "lightning",
    "Lightning": "lightning",
    "torchmetrics per batch": "torchmetrics",
    "Lightning save_checkpoint": "lightning",
    "DCP async": "torch",
    "DCP async, cached stager": "torch",
}
LONGEST = 300  # seconds that one peer may take


def version(name: str) -> str:
    """The version of what a peer needs; empty where it is not installed."""
    try:
        return importlib.metadata.version(DISTRIBUTIONS[name])
    except importlib.metadata.PackageNotFoundError:
        return ""


def measure_each(module: str, names: Sequence[str], words: Sequence[str] = ()) -> dict[str, Any]:
    """For each name what `python -m <module> <name> <words>` prints, with the version, or {"missing": why}."""
    return {name: measure(module, name, words) for name in names}


def measure(module: str, name: str, words: Sequence[str]) -> dict[str, Any]:
    """One of them."""
    found = version(name)
    if not found:
        return {"missing": "not installed"}
    print(f"  {name} {found} ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-W", "ignore", "-m", module, name, *words]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST)
        done.check_returncode()
        return {"version": found, **json.loads(done.stdout.strip().splitlines()[-1])}
    except subprocess.TimeoutExpired:
        return {"version": found, "missing": f"took more than {LONGEST} s"}
    except subprocess.CalledProcessError as error:
        return {"version": found, "missing": f"failed: {(error.stderr.strip().splitlines() or ['?'])[-1][:200]}"}
    except (IndexError, ValueError):
        return {"version": found, "missing": "printed no result"}
