"""What differs between two runs, or a run and the working tree: config, code, environment, metrics."""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracking import environment as machine
from tracking import snapshot
from tracking.reading.configs import ConfigReader, changes, read_origins
from tracking.reading.summary import summarize, value_of
from tracking.record import read_record

LOG = logging.getLogger("fieldbook.exp")


@dataclass
class Code:
    """A copy of the code: where it lies, and path -> sha256."""

    root: Path
    files: dict[str, str]


def code_of(run: Path) -> Code:
    """The code that the newest session of a run used: the copy, or what was kept when it was resumed with other code."""
    numbers = [int(p.name.split(".")[1]) for p in run.glob("scripts.*.sha256") if p.name.split(".")[1].isdecimal()]
    name = f"scripts.{max(numbers)}" if numbers else "scripts"
    return Code(run / name, snapshot.read_checksums(run / f"{name}.sha256"))


def config(a: Path, b: Path) -> dict[str, list[Any]]:
    """{KEY: [a's, b's]} for each key that differs; none, with a warning, where one of the configs cannot be read."""
    reader = ConfigReader()
    one, two = reader.read(a), reader.read(b)
    for path in [path for path, keys in ((a, one), (b, two)) if not keys]:
        LOG.warning("%s cannot be read: what differs in the config is unknown", path / "config.yml")
    return changes(two, one, lambda: (read_origins(b), read_origins(a))) if one and two else {}


def code(a: Code, b: Code) -> dict[str, list[str]]:
    """Files added, removed and changed from `a` to `b`; digests only, no file is read."""
    return snapshot.compare(a.files, b.files)


def code_between(a: Path, b: Path) -> tuple[Code, Code] | None:
    """The codes of two runs; None where that of one is unknown (adopted runs), which is not the same as empty."""
    codes = (code_of(a), code_of(b))
    return codes if all(one.files for one in codes) else None


def line_counts(a: Code, b: Code) -> list[tuple[str, int, int]]:
    """(file, lines added, lines removed) from `a` to `b`; -1, -1 for what is no text."""
    counts = []
    for name in sorted(sum(code(a, b).values(), [])):
        old, new = _lines(a, name), _lines(b, name)
        if old is None or new is None:
            counts.append((name, -1, -1))
            continue
        diff = list(difflib.unified_diff(old, new, lineterm="", n=0))[2:]
        counts.append((name, sum(d.startswith("+") for d in diff), sum(d.startswith("-") for d in diff)))
    return counts


def unified(a: Code, b: Code) -> list[str]:
    """The unified diff of all text files, as `diff -u` prints it."""
    lines: list[str] = []
    for name in sorted(sum(code(a, b).values(), [])):
        old, new = _lines(a, name), _lines(b, name)
        if old is None or new is None:
            lines.append(f"Binary files a/{name} and b/{name} differ")
            continue
        before = f"a/{name}" if name in a.files else "/dev/null"
        after = f"b/{name}" if name in b.files else "/dev/null"
        lines += difflib.unified_diff(old, new, before, after, lineterm="")
    return lines


def runs(a: Path, b: Path, swap_code: bool = False) -> tuple[dict[str, Any], tuple[Code, Code] | None]:
    """All of `diff --json`, {"config", "code", "environment", "metrics"}, and both codes (None: unknown of one of them).

    Args:
        swap_code: code from b to a. Against the parent, lines with + are then what the run added.
    """
    codes = code_between(b, a) if swap_code else code_between(a, b)
    found = {
        "config": config(a, b),
        "code": code(*codes) if codes else {"added": [], "removed": [], "changed": []},
        "environment": environment(environment_of(a), environment_of(b)),
        "metrics": metrics(a, b),
    }
    return found, codes


def with_working_tree(a: Path, root: Path) -> tuple[dict[str, Any], tuple[Code, Code] | None]:
    """The same between a run and what a run started now would use: code, Python and packages."""
    codes = (code_of(a), Code(root, snapshot.take(root, None, a.parent).files))
    recorded = environment_of(a)
    now = {k: v for k, v in machine.facts({}).items() if k in recorded}
    recorded = {k: v for k, v in recorded.items() if k in now}
    return {"config": {}, "code": code(*codes), "environment": environment(recorded, now), "metrics": {}}, codes


def environment(a: dict[str, Any], b: dict[str, Any]) -> dict[str, list[Any]]:
    """{FACT: [a's, b's]}; packages by their names."""
    flat = []
    for side in (a, b):
        packages = side.get("packages")
        flat.append({**side, **packages} if isinstance(packages, dict) else side)
    keys = sorted({*flat[0], *flat[1]} - {"packages"})
    return {k: [flat[0].get(k), flat[1].get(k)] for k in keys if flat[0].get(k) != flat[1].get(k)}


def environment_of(run: Path) -> dict[str, Any]:
    """The recorded environment; {} where there is none."""
    return dict(read_record(run).run.get("environment", {}))


def metrics(a: Path, b: Path) -> dict[str, list[float | None]]:
    """{METRIC: [a's, b's]} of what either has, each its best, whether or not they differ."""
    rows = (summarize(a), summarize(b))
    names = sorted({*rows[0]["metrics"], *rows[1]["metrics"]})
    return {name: [value_of(row, name) for row in rows] for name in names}


def _lines(code: Code, name: str) -> list[str] | None:
    """A file's lines; [] where the copy does not have it, None where it is no text or is gone."""
    if name not in code.files:
        return []
    try:
        return (code.root / name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
