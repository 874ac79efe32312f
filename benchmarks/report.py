"""The report page of 1,000 and 10,000 runs: seconds to write it, its size, and how quickly Chromium has it ready.

    python -m benchmarks.report [--json] [--runs 1000 10000]

`ratio` is the time to write the page of the fewest runs over a plain loop that parses the same records with json. Records
are cloned from a real one as in benchmarks/tracking.py, each with 230 lines of curves. Without playwright and Chromium the
figures of the browser are left out.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import quiet, seconds, show
from benchmarks.tracking import clone, first_run

SWITCHES = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
# The longest pause between two frames while the table is scrolled from its top to its end in 60 steps, ms.
SCROLL = """async () => {
    const body = document.querySelector("#runs .scroll"), frame = () => new Promise(requestAnimationFrame);
    let longest = 0, last = performance.now();
    for (let step = 0; step <= 60; step++) {
        body.scrollTop = step / 60 * body.scrollHeight;
        await frame();
        longest = Math.max(longest, performance.now() - last);
        last = performance.now();
    }
    return longest;
}"""
SORT = """async () => {
    const start = performance.now();
    document.querySelector('[data-key="value"]').click();
    await new Promise(requestAnimationFrame);
    return performance.now() - start;
}"""


def main() -> int:
    """Prints the figures; 1 where the page of 1,000 runs takes more than two seconds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object to stdout and nothing else")
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 10_000], help="how many; each more than the one before")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sizes = [measure(Path(temporary) / str(count), count) for count in args.runs]
    show({"ratio": sizes[0]["write_s"] / sizes[0]["plain_s"], "sizes": sizes}, args.json)
    return int(any(size.get("ready_s", 0.0) > 2.0 for size in sizes if size["runs"] <= 1000))


def measure(folder: Path, count: int) -> dict[str, Any]:
    """All figures of one size."""
    from tracking.page.write import write
    from tracking.reading import index

    with quiet():
        source = first_run(folder)
    curves(source / "metrics.jsonl")
    clone(source, folder, count - 1)
    index.load(folder)
    page = folder / ".report"

    def report() -> None:
        gc.disable()  # as exp.py does
        runs = index.load(folder)
        runs.parse()
        write(runs, runs.rows, page)
        gc.enable()

    found: dict[str, Any] = {"runs": count, "plain_s": seconds(lambda: plain_loop(folder))}
    before = time.process_time()
    found["write_s"] = seconds(report)
    found["write_cpu_s"] = time.process_time() - before
    found["write_again_s"] = seconds(report)
    found["page_mb"] = (page / "index.html").stat().st_size / 1e6
    found["beside_mb"] = sum(path.stat().st_size for path in (page / "data").rglob("*.js")) / 1e6
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found |= in_browser((page / "index.html").as_uri())
    shutil.rmtree(folder)
    return found


def curves(file: Path) -> None:
    """200 lines of training and 30 of validation, as a run of 30 epochs logs them."""
    rows: list[dict[str, Any]] = []
    for step in range(1, 201):
        head = {"step": 10 * step, "epoch": step // 7, "time": step * 0.9}
        rows.append(
            {**head, "train/loss": 2 / step + 0.01 * math.sin(step), "lr": 0.1 * (1 - step / 201), "grad_norm": 1 / step}
        )
        if step % 7 == 0 and step < 211:
            rows.append({**head, "val/loss": 1 / step, "val/top1": 1 - 1 / step, "val/top5": 1 - 0.1 / step})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def plain_loop(folder: Path) -> None:
    """What anybody would write first: every record parsed, nothing done with it."""
    for entry in os.scandir(folder):
        if not entry.name.startswith("."):
            for name in ("run.json", "status.json"):
                json.loads(Path(entry.path, name).read_text(encoding="utf-8"))
            Path(entry.path, "config.yml").read_text(encoding="utf-8")
            for line in Path(entry.path, "metrics.jsonl").read_text(encoding="utf-8").splitlines():
                json.loads(line)


def in_browser(address: str) -> dict[str, float]:
    """Seconds until the page is ready (least of three), its heap, the longest frame of scrolling, a sort; {} without one."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    if not chromium:
        return {}
    times = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=SWITCHES)
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            start = time.perf_counter()
            page.goto(address)
            page.wait_for_selector("html[data-ready]")
            times.append(time.perf_counter() - start)
            tools = page.context.new_cdp_session(page)
            tools.send("Performance.enable")
            metrics = {one["name"]: one["value"] for one in tools.send("Performance.getMetrics")["metrics"]}
            frame, sort = page.evaluate(SCROLL), page.evaluate(SORT)
            page.close()
        browser.close()
    return {"ready_s": min(times), "heap_mb": metrics["JSHeapUsedSize"] / 1e6, "longest_frame_ms": frame, "sort_ms": sort}


if __name__ == "__main__":
    sys.exit(main())
