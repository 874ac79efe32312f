"""Runs every benchmark of speed, one after another, with the other libraries, and writes docs/performance.md.

    python -m benchmarks [--only NAME ...] [--gpu] [--no-peers] [--quick]

1 where one failed; the others are run and written nevertheless. With --only or --gpu (what needs a CUDA device, and only
that) these sections are put into the page if all went well, and its others stay as they are.
The two that train to an accuracy are run three times each, with --quick once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, with_byte_code
from benchmarks.page import WORKLOADS, machine, read_back, render, section

PAGE = ROOT / "docs" / "performance.md"


def main() -> int:
    """Runs, prints and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), metavar="NAME", help=", ".join(WORKLOADS))
    parser.add_argument("--gpu", action="store_true", help="what needs a CUDA device, into its place in the page")
    parser.add_argument("--no-peers", action="store_true", help="without other libraries")
    parser.add_argument("--quick", action="store_true", help="one round of what trains to an accuracy, instead of three")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = with_byte_code(Path(folder))
        names = args.only or [name for name, workload in WORKLOADS.items() if workload.gpu == args.gpu]
        results = {name: run(name, environment, peers=not args.no_peers, quick=args.quick) for name in names}
    failed = any("failed" in result for result in results.values())
    if not failed or not (args.only or args.gpu):
        old = read_back(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
        PAGE.write_text(render({**old, **results}), encoding="utf-8")
    print("\n".join(line for name, result in results.items() for line in [*section(name, result), ""]))
    return int(failed)


def run(name: str, environment: dict[str, str], *, peers: bool, quick: bool) -> dict[str, Any]:
    """The object that a benchmark prints, or {"failed": why}."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    if not (ROOT / "benchmarks" / f"{name}.py").exists():
        return {"failed": f"there is no benchmarks/{name}.py"}
    workload = WORKLOADS[name]
    extra = ["--peers"] if peers and workload.peers else []
    extra += ["--rounds", str(workload.rounds)] if workload.rounds and not quick else []
    words = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{name}", "--json", *extra]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"failed": f"exit code {done.returncode}: {last}"}
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"failed": "it printed something else than one JSON object"}
    return {**result, "machine": machine()}


if __name__ == "__main__":
    sys.exit(main())
