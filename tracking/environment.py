"""Versions, hardware and git: an allow-list of facts, never the process's environment, which holds secrets."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import socket
import subprocess
from pathlib import Path
from typing import Any


def packages() -> dict[str, str]:
    """Installed packages and their versions."""
    found = {}
    for one in importlib.metadata.distributions():
        text = one.read_text("METADATA") or one.read_text("PKG-INFO") or ""
        # two lines of its head: parsing the whole of each would cost a tenth of the start of a run
        name, version = (re.search(rf"^{field}: *(\S+)", text, re.MULTILINE) for field in ("Name", "Version"))
        if name and version:
            found[name[1]] = version[1]
    return dict(sorted(found.items(), key=lambda pair: pair[0].lower()))


def facts(hardware: dict[str, str]) -> dict[str, Any]:
    """Python, system, processor, packages and the `hardware` that the caller knows of (such as the GPU's name)."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count() or 0,
        **hardware,
        "packages": packages(),
    }


def as_text(environment: dict[str, Any]) -> str:
    """env.txt."""
    lines = [f"{key}: {value}" for key, value in environment.items() if key != "packages"]
    return "\n".join([*lines, "", *(f"{n}=={v}" for n, v in environment["packages"].items())]) + "\n"


def git_facts(root: Path) -> dict[str, Any]:
    """Commit, branch, and whether there is anything uncommitted; of a copy, those that it was made of. Empty values where
    there is no git."""

    def git(*words: str) -> str:
        # A `git status` that refreshes the index holds a lock on it, which stays for ever where the process is killed.
        command = ["git", "--no-optional-locks", "-C", str(root), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    if not (root / ".git").exists():
        return {"commit": "", "branch": "", "dirty": False, **_git_of_copy(root)}
    return {
        "commit": git("rev-parse", "HEAD"),
        "branch": git("branch", "--show-current"),
        "dirty": bool(git("status", "--porcelain")),
    }


def _git_of_copy(root: Path) -> dict[str, Any]:
    """What the record of the run, sweep or job that a copy of the code belongs to says."""
    for name in ("run.json", "sweep.json", "job.json"):
        try:
            said = json.loads((root.parent / name).read_text(encoding="utf-8"))["git"]
            return {key: said[key] for key in ("commit", "branch", "dirty")}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}


def boot_id() -> str:
    """Changes when the machine is started anew: a process number means nothing across that."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def host() -> str:
    """This machine's name."""
    return socket.gethostname()
