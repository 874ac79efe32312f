"""Make a step that went wrong again, exactly: the step whose loss or gradient was NaN or infinite.

python tools/replay.py <run>                         the newest such step, on the run's device
python tools/replay.py <run> --device cpu --anomaly  on the CPU, with autograd naming the operation

Exit code 0: it went wrong in the same way again; 1: this time it did not.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _root
from train_net import build

import config
from utils.errors import UserError
from utils.logger import setup_logger


def main(argv: Sequence[str]) -> int:
    """Prints what the step shows; writes nothing."""
    args = config.parse_arguments(argv, tool="replay")
    setup_logger()
    cfg, path, record = choose(args)
    from engine import distributed, prepare
    from engine.analysis.replay import replay_step
    from engine.checkpoint import load_checkpoint
    from engine.crash import STATE

    device = prepare.choose_device(cfg.MODEL.DEVICE)
    with distributed.session(device, cfg.DISTRIBUTED.TIMEOUT):
        cfg, splits, trainer = build(cfg, device)
        seen = replay_step(trainer, load_checkpoint(path / "crash" / STATE), anomaly=args.anomaly)
        again = any(distributed.gather(seen.found))
        if distributed.is_main():
            show(record, seen, splits.train, again=again, device=str(device), as_json=args.json)
    return 0 if again else 1


def choose(args: argparse.Namespace) -> tuple[config.Config, Path, dict[str, Any]]:
    """The run's config, its folder and the record of its newest such step.

    Raises:
        UserError: there is no such run, nothing went wrong in it, or its ranks are not here.
    """
    from engine.crash import newest_crash
    from tracking import find_run, read_record

    given = config.load(args)
    path = find_run(given.runs_folder, args.run)
    record = newest_crash(path)
    if record is None:
        raise UserError(f"{path.name}: no step is kept in its crash/, so there is nothing to replay")
    if record["world_size"] != int(os.environ.get("WORLD_SIZE", "1")):
        raise UserError(
            f"{path.name}: the step was made by {record['world_size']} ranks; "
            f"torchrun --nproc-per-node {record['world_size']} tools/replay.py {path.name}"
        )
    own = [o for o in args.overrides if o.key != "OUTPUT_DIR"]
    plain = [("MODEL.COMPILE", False), ("SOLVER.NONFINITE", "skip")]  # to look at each module, and at the step at once
    return config.load_run(path / "config.yml", [*read_record(path).overrides, *plain, *own]), path, record


def show(record: dict[str, Any], seen: Any, dataset: Any, *, again: bool, device: str, as_json: bool) -> None:
    """The step from its samples to its gradients."""
    indices = [index for rank in record["samples"] for batch in rank for index in batch]
    paths = [dataset.path(index) for index in indices]
    if as_json:
        facts = {name: getattr(seen, name) for name in ("images", "losses", "module", "gradients", "weights", "anomaly")}
        facts["losses"] = [{name: repr(value) for name, value in row.items()} for row in seen.losses]  # JSON has no NaN
        print(json.dumps({**record, **facts, "paths": paths, "again": again, "device": device}))
        return
    losses = "; ".join(", ".join(f"{name} {value:.6g}" for name, value in row.items()) for row in seen.losses)
    shown = ", ".join(f"{index} ({path})" for index, path in zip(indices[:5], paths, strict=False))
    lines = {
        "step": f"{record['step']}, epoch {record['epoch']}, learning rate {record['learning_rate']:g}, on {device}",
        "samples": f"{len(indices)}: {shown}{', ...' if len(indices) > 5 else ''}",
        "weights": f"not finite before the step: {', '.join(seen.weights[:5])}" if seen.weights else "finite before the step",
        "images": "; ".join(seen.images),
        "losses": losses,
        "forward": f"first not finite: what {seen.module} gives" if seen.module else "every module gave finite numbers",
        "backward": backward(seen),
        "verdict": "not finite again" if again else "this time everything is finite",
    }
    for label, text in lines.items():
        if text:
            print(f"{label:<9} {text}")
    if record["device"] != device:
        print(f"          the run was on {record['device']}: dropout masks and roundings differ here")


def backward(seen: Any) -> str:
    """What became of the gradients, and how to learn more."""
    if seen.anomaly:
        return f"broken off: {seen.anomaly}"
    names = ", ".join(seen.gradients[:5]) + (" ..." if seen.gradients[5:] else "")
    return f"not finite: the gradients of {names}; --anomaly names the operation" if names else "every gradient is finite"


if __name__ == "__main__":
    _root.run_tool(main)
