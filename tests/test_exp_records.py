"""Records built by hand for the tests of exp.py, and the promise that they are like those of real runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Exp = Callable[..., tuple[int, str, str]]


def make_run(
    folder: Path,
    name: str = "base",
    number: int = 0,
    *,
    scores: dict[str, float] | None = None,
    config: dict[str, Any] | None = None,
    code: dict[str, str] | None = None,
    status: str = "finished",
    weights: tuple[str, ...] = (),
    **facts: Any,
) -> Path:
    """A run folder as design 3.5 describes it; `facts` go into run.json, `number` makes its date."""
    path = folder / f"{name}_2026-11-{1 + number // 24:02d}_{number % 24:02d}-00-00"
    path.mkdir(parents=True)
    flat = {"SEED": 0, "SOLVER.BASE_LR": 0.1, "MODEL.NAME": "mlp", "NAME": name, **(config or {})}
    files = {"tools/train_net.py": "print('training')\n", "modeling/net.py": "WIDTH = 8\n", **(code or {})}
    digests = {file: hashlib.sha256(text.encode()).hexdigest() for file, text in sorted(files.items())}
    for file, text in files.items():
        target = path / "scripts" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (path / "scripts.sha256").write_text("".join(f"{d}  scripts/{f}\n" for f, d in digests.items()))
    (path / "config.yml").write_text(_yaml(flat))
    run: dict[str, Any] = {
        "schema": 1, "id": path.name, "name": name, "why": "", "expect": "", "tags": [], "parent": "",
        "started": f"2026-11-{1 + number // 24:02d}T{number % 24:02d}:00:00+00:00", "command": ["tools/train_net.py"],
        "host": "elsewhere", "boot_id": "x", "pid": 1, "world_size": 1, "seed": flat["SEED"],
        "git": {"commit": "c" * 40, "branch": "main", "dirty": False},
        "code_digest": _digest(digests),
        "tree_digest": _digest(digests),
        "config_digest": _digest({k: v for k, v in flat.items() if k not in ("SEED", "NAME")}),
        "origins": dict.fromkeys(flat, "default"),
        "data": {},
        "environment": {"python": "3.11.7", "packages": {"torch": "2.6"}},
        **facts,
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(run))
    notes = {"Why": run["why"], "Expected": run["expect"], "Verdict": "", "Tags": " ".join(run["tags"]), "Notes": ""}
    (path / "notes.md").write_text("\n".join(f"# {heading}\n{text}\n" for heading, text in notes.items()))
    _write_status(path, run, status, scores or {})
    rows = [{"step": s, "epoch": 1, "time": 0.1 * s, "train/loss": 1.0 / (s + 1)} for s in range(3)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (path / "log.txt").write_text("first line\nlast line\n")
    (path / "weights").mkdir()
    for weight in weights:
        (path / "weights" / weight).write_bytes(b"w" * 1000)
    return path


def _write_status(path: Path, run: dict[str, Any], status: str, scores: dict[str, float]) -> None:
    best = {k: {"last": v, "best": v, "best_step": 3} for k, v in scores.items()}
    session = {"host": run["host"], "boot_id": "x", "pid": 1, "started": run["started"], "changes": {}}
    content = {
        "schema": 1, "status": status, "reason": "", "ended": "", "seconds": 61.0, "primary_metric": next(iter(best), ""),
        "progress": {"epoch": 3, "step": 9, "total_steps": 9}, "metrics": best, "sessions": [session],
    }  # fmt: skip
    (path / "status.json").write_text(json.dumps(content))


def edit(path: Path, **changes: Any) -> None:
    """Changes keys of a JSON file by hand."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _yaml(flat: dict[str, Any]) -> str:
    lines = [f"{key}: {json.dumps(value)}  # default" for key, value in flat.items() if "." not in key]
    for section in dict.fromkeys(key.split(".")[0] for key in flat if "." in key):
        inner = [f"  {k.split('.')[1]}: {json.dumps(v)}  # default" for k, v in flat.items() if k.startswith(f"{section}.")]
        lines += [f"{section}:", *inner]
    return "\n".join(lines) + "\n"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def run_exp(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Exp:
    """`exp("ls", "--json")` in this process: (exit code, stdout, stderr)."""
    import _root

    import exp as tool

    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["exp.py", *words, "--output-dir", str(folder)])
        with pytest.raises(SystemExit) as end:
            _root.run_tool(tool.main)
        output = capsys.readouterr()
        return int(end.value.code or 0), output.out, output.err

    return run


def test_hand_made_records_have_the_keys_of_real_ones(tmp_path: Path) -> None:
    from tracking import Facts, start_run

    root = tmp_path / "code"
    (root / "tools").mkdir(parents=True)
    (root / "tools" / "train_net.py").write_text("print()\n")
    facts = Facts(root=root, name="real", config="SEED: 0\n", config_digest="d", origins={}, seed=0, command=[])
    run = start_run(tmp_path / "exp", facts)
    run.finish("finished")
    made = make_run(tmp_path / "exp", scores={"val/top1": 0.5})
    for file in ("run.json", "status.json"):
        real, ours = (set(json.loads((path / file).read_text())) for path in (run.path, made))
        assert ours <= real, file
    assert {p.name for p in made.iterdir()} <= {*os.listdir(run.path)}
