"""Getting a run's code back, proven whole; and running it again."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracking.reading import diff
from tracking.reading.diff import Code
from tracking.reading.index import Runs, load
from tracking.reading.summary import Row
from tracking.record import read_metrics, read_record
from utils.errors import UserError
from utils.files import sha256_file

LOG = logging.getLogger("fieldbook.tracking")
_CLOCK = ("time", "samples_per_second", "memory_mb")  # differ between equal runs


def verify(code: Code) -> None:
    """That each copied file is there and is what it was.

    Raises:
        UserError: files are missing or were edited since, or there is no code at all.
    """
    if not code.files:
        raise UserError(f"{code.root}.sha256: no list of copied code; this run's code is unknown")
    wrong = []
    for name, digest in code.files.items():
        file = code.root / name
        if not file.is_file():
            wrong.append(f"{name} is missing")
        elif sha256_file(file) != digest:
            wrong.append(f"{name} was edited")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(f"{code.root}: not the code of that run any more: {', '.join(wrong[:5])}{more}")


def restore(run: Path, destination: Path) -> list[str]:
    """Copies the run's verified code and config.yml to `destination`; the command that runs it, as words.

    Raises:
        UserError: the destination holds something already, or the copy is not whole.
    """
    code = diff.code_of(run)
    verify(code)
    changes = read_record(run).changes
    _warn_of_sessions(run)
    script, config = (str(destination / name) for name in (_tool(run, code), "config.yml"))
    destination = destination.absolute()
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise UserError(f"{destination} exists and is not empty; name a new folder")
    aside = destination.with_name(f".restoring-{destination.name}-{os.getpid()}")
    try:
        for name in code.files:
            target = aside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(code.root / name, target)
        verify(Code(aside, code.files))
        if (run / "config.yml").is_file():
            shutil.copy2(run / "config.yml", aside / "config.yml")
        if destination.is_dir():
            destination.rmdir()
        os.rename(aside, destination)
    except OSError as error:
        raise UserError(f"{destination}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return ["python", script, "--config-file", config, *_as_words(changes)]


def _warn_of_sessions(run: Path) -> None:
    """A run that was resumed with other code has more than one: what it became cannot be made in one piece."""
    if any(run.glob("scripts.*.sha256")):
        LOG.warning("%s was resumed with other code: this is the newest, %s/", run.name, diff.code_of(run).root.name)


def _as_words(changes: dict[str, list[Any]]) -> list[str]:
    """What was changed when a run was resumed, as KEY VALUE words."""
    return [word for key, (_, new) in changes.items() for word in (key, new if isinstance(new, str) else json.dumps(new))]


def rerun(runs: Runs, row: Row, overrides: Sequence[str]) -> dict[str, Any]:
    """Runs that run's own code with its config (and `overrides`) as its child, and compares the outcome.

    Returns:
        original, run (the new one), exit_code, equal, differences {what: [old, new]}, environment {fact: [old, new]}.

    Raises:
        UserError: the code is not whole, or the new run left no record.
    """
    path = runs.path(row)
    verify(diff.code_of(path))
    if not (path / "config.yml").is_file():
        raise UserError(f"{path / 'config.yml'}: missing; without its config a run cannot be made again")
    _warn_of_sessions(path)
    before = set(runs.by_id)
    child = subprocess.Popen(_command(runs.folder, path, row, overrides), stdout=sys.stderr)
    code = child.wait()
    after = load(runs.folder)
    fresh = [r for r in after.rows if r["id"] not in before and r["parent"] == row["id"]]
    mine = [r for r in fresh if read_record(after.path(r)).run.get("pid") == child.pid] or fresh
    if not mine:
        raise UserError(f"the run ended with exit code {code} before it made a record; what it said stands above")
    new = after.path(mine[-1])
    differences = compare(path, new)
    return {
        "original": row["id"],
        "run": new.name,
        "exit_code": code,
        "equal": code == 0 and not differences,
        "differences": differences,
        "config": diff.config(path, new),
        "environment": diff.environment(diff.environment_of(path), diff.environment_of(new)),
    }


def compare(a: Path, b: Path) -> dict[str, list[Any]]:
    """{METRIC: [a's, b's]} of the last and best scores and the curves that are not equal to the last bit; clocks aside."""
    found: dict[str, list[Any]] = {}
    scores = [read_record(path).status.get("metrics") or {} for path in (a, b)]
    for name in sorted({*scores[0], *scores[1]}):
        if scores[0].get(name) != scores[1].get(name):
            found[name] = [(side.get(name) or {}).get("last") for side in scores]
    curves = [_curves(path) for path in (a, b)]
    for name in sorted({*curves[0], *curves[1]} - set(found)):
        old, new = (side.get(name, {}) for side in curves)
        steps = sorted(step for step in {*old, *new} if old.get(step) != new.get(step))
        if steps:
            found[f"{name} at step {steps[0]}"] = [old.get(steps[0]), new.get(steps[0])]
    return found


def _curves(path: Path) -> dict[str, dict[int, float | None]]:
    curves: dict[str, dict[int, float | None]] = {}
    for line in read_metrics(path / "metrics.jsonl"):
        if not isinstance(line.get("step"), int):
            continue
        for name, value in line.items():
            clock = name in ("step", "epoch") or name.partition("/")[0] in _CLOCK
            if not clock and (value is None or (isinstance(value, int | float) and math.isfinite(value))):
                curves.setdefault(name, {})[line["step"]] = value
    return curves


def _tool(run: Path, code: Code) -> str:
    """The tool that made a run: that of its command, where the run's code has it."""
    first = str(next(iter(read_record(run).run.get("command", [])), ""))
    return first if first in code.files else "tools/train_net.py"


def _command(folder: Path, path: Path, row: Row, overrides: Sequence[str]) -> list[str]:
    code = diff.code_of(path)
    script = str((code.root / _tool(path, code)).resolve())
    world = read_record(path).run.get("world_size", 1)
    start = [sys.executable]
    if isinstance(world, int) and world > 1:
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
    changed = f" with {' '.join(overrides)}" if overrides else ""
    return [
        *start, script, "--config-file", str(path / "config.yml"), "--name", row["name"], "--parent", row["id"],
        "--why", f"rerun of {row['id']}{changed}", "--tag", "rerun", "--output-dir", str(folder),
        *_as_words(row["resumed_with"]), *overrides,
    ]  # fmt: skip
