"""Runs every benchmark of speed, one after another, and writes docs/performance.md.

python -m benchmarks
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from typing import Any

from benchmarks.common import ROOT

# module: (what is measured, over what)
WORKLOADS = {
    "overhead": ("a training step, all defaults on, the worst of four models and batches", "a plain loop"),
    "small_images": ("images a second with pad-crop and flip", "the same path without them"),
    "jpeg": ("images a second of a JPEG folder, cropped and mirrored, as uint8", "torchvision's ImageFolder and DataLoader"),
    "startup": ("time from the start of the process to its first step", "the shortest script with torch.optim"),
    "checkpoint": ("time that training stands still for a checkpoint", "torch.save"),
    "evaluation": ("validation of 10,000 images", "a plain loop that counts matches"),
    "retrieval": ("scores of a test as large as Market-1501's", "a NumPy loop over its queries"),
    "memory": ("peak resident memory of the MLP run", "the plain loop"),
}


def main() -> None:
    """Runs, prints and writes."""
    results = {name: run(name) for name in WORKLOADS}
    page = ROOT / "docs" / "performance.md"
    page.write_text(render(results), encoding="utf-8")
    print(page.read_text(encoding="utf-8"))


def run(name: str) -> dict[str, Any]:
    """The object that a benchmark prints."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    words = [sys.executable, "-m", f"benchmarks.{name}", "--json"]
    done = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def render(results: dict[str, dict[str, Any]]) -> str:
    """The page."""
    lines = [
        "# How fast it is",
        "",
        f"Written by `python -m benchmarks` on {os.cpu_count()} cores ({platform.machine()}). Competitors take turns in one",
        "run and every figure is a ratio, the median over turns; `python -m benchmarks.<name>` repeats one.",
        "",
        "| benchmark | measured | over | ratio |",
        "|---|---|---|---|",
    ]
    for name, result in results.items():
        rows = result.get("sizes", [result])
        ratios = ", ".join(f"{row['ratio']:.2f}" + (f" ({row['megabytes']} MB)" if "megabytes" in row else "") for row in rows)
        lines.append(f"| {name} | {WORKLOADS[name][0]} | {WORKLOADS[name][1]} | {ratios} |")
    details = "\n".join(json.dumps({name: result}) for name, result in results.items())
    return "\n".join([*lines, "", "In full:", "", "```", details, "```", ""])


if __name__ == "__main__":
    main()
