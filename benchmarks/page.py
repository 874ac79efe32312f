"""docs/performance.md: a table for each workload, made of what the benchmarks print."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.workloads import WORKLOADS, Span

COMPETITORS = {"ours": "ours", "by hand": "by_hand"}


def render(results: dict[str, dict[str, Any]]) -> str:
    """The whole page, in the order of WORKLOADS; sections that were measured elsewhere than most say where."""
    results = {name: results[name] for name in WORKLOADS if name in results}
    machines = Counter(result["machine"] for name, result in results.items() if "machine" in result and not WORKLOADS[name].gpu)
    usual = machines.most_common(1)[0][0] if machines else ""
    lines = [
        "# How fast it is",
        "",
        f"Written by `python -m benchmarks`{' on ' if usual else ''}{usual}.",
        "",
        "Competitors take turns in one run. A figure is a ratio, the median over the rounds, with the least and greatest of",
        "them beside it; `python -m benchmarks.<name>` repeats one.",
    ]
    if any("peers" in part for result in results.values() for part in (result, *result.get("sizes", []))):
        lines += ["Other libraries are set up as their documentation recommends for speed, and measured in the same run."]
    else:
        lines += ["Other libraries were not measured in this run."]
    missing = {name: workload for name, workload in WORKLOADS.items() if name not in results}
    absent = [f"`benchmarks.{name}` ({workload.title})" for name, workload in missing.items() if not workload.gpu]
    if absent:
        lines += ["", f"Not in this run: {', '.join(absent)}."]
    for name, result in results.items():
        lines += ["", *section(name, result, usual)]
    for name in (name for name, workload in missing.items() if workload.gpu):
        lines += ["", *section(name, None)]
    details = [json.dumps({name: result}) for name, result in results.items()]
    return "\n".join([*lines, "", "## In full", "", "```json", *details, "```", ""])


def read_back(page: str) -> dict[str, dict[str, Any]]:
    """The results that a page was made of."""
    found: dict[str, dict[str, Any]] = {}
    for line in page.splitlines():
        found |= json.loads(line) if line.startswith('{"') else {}
    return found


def section(name: str, result: dict[str, Any] | None, usual: str = "") -> list[str]:
    """The title, a sentence and a table of one workload; or why it failed, or (None) how to measure it."""
    workload = WORKLOADS[name]
    lines = [f"## {workload.title}", "", f"{workload.measured[0].upper()}{workload.measured[1:]} (`benchmarks.{name}`).", ""]
    if result is None:
        hint = "Not measured yet: `python -m benchmarks --gpu`, where there is a CUDA device, puts its table here."
        return [*lines, hint, *said(name, {}), *published(name)]
    if "failed" in result:
        return [*lines, f"**Failed:** {result['failed']}"]
    try:
        rows = workload.rows(result)
    except (KeyError, TypeError) as error:
        return [*lines, f"**Failed:** its result cannot be read: {error!r}"]
    lines += ["| | median | least to greatest | target | |", "|---|---:|---:|---:|---|"]
    lines += [own_line(*row, reached=result.get("reached", True)) for row in rows]
    for size in result.get("sizes", [result]):
        suffix = f", {size['megabytes']} MB" if "megabytes" in size else ""
        lines += [peer_line(peer, found, suffix) for peer, found in size.get("peers", {}).items()]
    return [*lines, *said(name, result, usual), *published(name)]


def published(name: str) -> list[str]:
    """A table of what others say of themselves."""
    rows = [f"| {' | '.join(row)} |" for row in WORKLOADS[name].published]
    return ["", "| published, not measured here | seconds | on one | source |", "|---|---:|---|---|", *rows] if rows else []


def said(name: str, result: dict[str, Any], usual: str = "") -> list[str]:
    """Beneath the table: how many rounds, where it was not on the `usual` machine, and what was reached."""
    lines = [f"Rounds: {result['rounds']}."] if "rounds" in result else []
    if WORKLOADS[name].gpu and "device" in result:
        lines += [f"On one {result['device']}; {result['machine']}."]
    elif result.get("machine", usual) != usual:
        lines += [f"Measured on {result['machine']}."]
    if WORKLOADS[name].note:
        lines += [WORKLOADS[name].note]
    if WORKLOADS[name].absent:
        lines += [f"Other libraries for this, not measured: {WORKLOADS[name].absent}."]
    if "test_accuracy" in result:
        lines += ["Least test accuracy of the rounds: " + listed(result["test_accuracy"]) + "."]
    if "workers_by_hand" in result:
        lines += [f"By hand with `num_workers={result['workers_by_hand']}`, the faster of 0 and 2 on this machine."]
    if "goal" in result:
        counts = {name: f"{result[f'{kind}_reached']} of {result['rounds']}" for name, kind in COMPETITORS.items()}
        lines += [f"Trainings that reached {result['goal']}: {listed(counts)}."]
    if result.get("reached") is False:
        lines += ["**Ours did not reach the accuracy in every round: missed, whatever its time.**"]
    return ["", *lines] if lines else []


def listed(values: dict[str, Any]) -> str:
    """`name value, name value`."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def own_line(what: str, figure: float | None, spread: Span, target: str, *, reached: bool = True) -> str:
    """A row of ours."""
    number = f"{figure:.3f}" if figure is not None else "none"
    return f"| **{what}** | **{number}** | {span(spread)} | {target} | {verdict(figure, target, reached=reached)} |"


def peer_line(name: str, found: dict[str, Any], suffix: str = "") -> str:
    """A row of another library."""
    title = f"{name} {found.get('version', '')}".strip() + suffix
    if "missing" in found:
        return f"| {title} | | | | {found['missing'].replace('|', '/')} |"
    return f"| {title} | {found['ratio']:.3f} | {span(found.get('spread'))} | | |"


def span(spread: Span) -> str:
    """Least to greatest."""
    ends = ["none" if end is None else f"{end:.2f}" for end in spread or ()]
    return " to ".join(ends)


def verdict(figure: float | None, target: str, *, reached: bool = True) -> str:
    """Whether a target such as "<= 1.02" is kept; never where the run did not get to what was asked of it."""
    if not target:
        return ""
    sign, bar = target.split()
    if not reached:
        return "**missed**"
    if figure is None:
        return "**no figure**"
    kept = figure <= float(bar) if sign == "<=" else figure >= float(bar)
    return "kept" if kept else "**missed**"


def machine() -> str:
    """Processor, cores, system, versions."""
    names = ("torch", "torchvision", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    system = f"{platform.system()}, Python {platform.python_version()}, {versions}"
    return f"{processor()}, {os.cpu_count()} cores; {system}"


def processor() -> str:
    """Its name, as far as the system tells."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8", errors="replace").splitlines() if facts.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
