"""A library `wandb` that notes what it is told and then behaves as FAKE_WANDB says; a run folder without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LIBRARY = """
import json, os, re, subprocess, sys, time

def note(*what):
    with open(os.environ["FAKE_NOTES"], "a") as file:
        file.write(json.dumps(what) + "\\n")

def misbehave(place):
    how, where = os.environ.get("FAKE_WANDB", "well at none").split(" at ")
    if where == place:
        print("a library talks", "a lot" * 9999, flush=True)
        if how == "raises":
            raise RuntimeError("no network\\nfor a long while")
        elif how == "hangs":
            time.sleep(1000)
        elif how == "holds the interpreter":
            re.match("(a+)+$", "a" * 60 + "b")
        elif how == "dies after a fork":
            child = os.fork()
            time.sleep(0 if child else 60)
            note("child", child)
            os.kill(os.getpid(), 11)
        elif how == "dies after a start":
            note("child", subprocess.Popen(["sleep", "60"]).pid)
            os.kill(os.getpid(), 11)
        elif how == "dies":
            os.kill(os.getpid(), 11)
        elif how == "leaves":
            sys.exit("a library has had enough")
        elif how == "has no space":
            raise OSError(28, "No space left on device")
        elif how == "is slow":
            time.sleep(0.05)

class Run:
    offline, url, id = False, "https://example.org/run", "given"
    def __init__(self):
        self.summary = {}
    def define_metric(self, *args, **kwargs): pass
    def mark_preempting(self): note("preempting")
    def log(self, row):
        misbehave("log")
        note("row", {name: repr(value) for name, value in row.items()})
    def finish(self, exit_code):
        note("finish", exit_code, self.summary)
        misbehave("finish")

def Settings(**kwargs): return kwargs
def Image(path): return os.path.basename(path)

def init(**kwargs):
    note("init", kwargs)
    misbehave("init")
    return Run()
"""


def fake_library(folder: Path) -> dict[str, str]:
    """Writes the library into `folder`; the environment in which processes find it."""
    (folder / "libraries").mkdir()
    (folder / "libraries" / "wandb.py").write_text(LIBRARY)
    return {"PYTHONPATH": str(folder / "libraries"), "FAKE_NOTES": str(folder / "notes.jsonl")}


def notes(folder: Path, kind: str) -> list[list[Any]]:
    """What the library was told, without the first word."""
    lines = (folder / "notes.jsonl").read_text().splitlines() if (folder / "notes.jsonl").is_file() else []
    return [said[1:] for said in map(json.loads, lines) if said[0] == kind]


def fake_run(folder: Path, rows: int = 0) -> Path:
    """The folder of a living run of which nothing but the record exists."""
    run = folder / "project" / "exp" / "tiny_2026-01-01_00-00-00"
    (run / "figures").mkdir(parents=True)
    facts = {
        "schema": 1, "name": "tiny", "why": "does it?", "tags": ["a"], "started": "2026-01-01T00:00:00+00:00", "seed": 3,
        "git": {"commit": "abc", "branch": "main", "dirty": False}, "config_digest": "c0", "command": ["tools/train_net.py"],
    }  # fmt: skip
    (run / "run.json").write_text(json.dumps(facts))
    (run / "notes.md").write_text("# Why\n\ndoes it?\n\n# Expected\n\nval/top1 > 0.9\n")
    (run / "config.yml").write_text("NAME: tiny\nSOLVER:\n  BASE_LR: 0.1\n  STEPS: [3, 4]\n")
    (run / "metrics.jsonl").touch()
    set_status(run, "running")
    add_rows(run, range(1, rows + 1))
    return run


def set_status(run: Path, status: str) -> None:
    """What status.json says."""
    metrics = {"val/top1": {"last": 0.5, "best": 0.75, "best_step": 2}}
    (run / "status.json").write_text(json.dumps({"status": status, "metrics": metrics, "sessions": []}))


def add_rows(run: Path, steps: range) -> None:
    """A row of each step; every third loss is NaN."""
    with open(run / "metrics.jsonl", "a") as file:
        for step in steps:
            loss = None if step % 3 == 0 else step / 2
            file.write(json.dumps({"step": step, "epoch": 0, "time": step / 10, "train/loss": loss}) + "\n")
