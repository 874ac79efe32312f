"""Test a model: the same score as at the end of its training, to the last digit.

python tools/test_net.py last
python tools/test_net.py <run> --split val
python tools/test_net.py --config-file configs/x.yml TEST.WEIGHT model.pt
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _root

import config
from utils.errors import UserError
from utils.logger import setup_logger


def main(argv: Sequence[str]) -> int:
    """A table of scores to stdout (or JSON), and test.json, predictions.csv and the confusion matrix into the folder."""
    args = config.parse_arguments(argv, tool="test")
    setup_logger()
    cfg, weights, folder = choose(args)
    from data import build_splits
    from engine import distributed
    from engine.build import build_task, check_precision
    from engine.named_weights import test_task
    from engine.prepare import choose_device
    from engine.testing import draw_tested, judge, write_predictions
    from utils.files import write_atomic

    with distributed.session(choose_device(cfg.MODEL.DEVICE), cfg.DISTRIBUTED.TIMEOUT):
        splits = build_splits(cfg)
        task, device = test_task(cfg, splits, weights, build_task)
        check_precision(cfg, device)
        own = folder is not None and folder in weights.parents  # of another place the whole path says which they were
        tested = judge(cfg, task, splits, args.split, device, weights.name if own else str(weights))
        if args.run and (said := [one.key for one in args.overrides if one.key != "OUTPUT_DIR"]):
            tested.result["changes"] = {key: cfg.flat()[key] for key in said}  # so that nobody takes it for the run's own score
        if not distributed.is_main():
            return 0
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                write_predictions(tested, splits, folder / "predictions.csv")
                write_atomic(folder / "test.json", json.dumps(tested.result, indent=2) + "\n")
                draw_tested(cfg, task, splits, tested, device, folder / "figures")
        except OSError as error:
            show(tested.result, None, as_json=args.json)
            raise UserError(f"{folder}: the scores cannot be written ({error.strerror}); they were only printed") from error
        show(tested.result, folder, as_json=args.json)
    return 0


def choose(args: argparse.Namespace) -> tuple[config.Config, Path, Path | None]:
    """Config, weights and output folder: of a run, or of a recipe with TEST.WEIGHT.

    Raises:
        UserError: neither is given, both are, or one does not exist.
    """
    from engine.named_weights import find_trained, find_weights

    given = config.load(args)
    if args.run and args.config_file:
        raise UserError("give a RUN, or --config-file FILE TEST.WEIGHT FILE, not both")
    if args.config_file:
        if not given.TEST.WEIGHT:
            raise UserError("--config-file needs TEST.WEIGHT FILE: the weights to test")
        out = Path(given.OUTPUT_DIR) if given.OUTPUT_DIR else None
        return given, find_weights(given.TEST.WEIGHT, Path("exp")), out
    if not args.run:
        raise UserError("which run? test_net.py RUN (a folder, a name, a part of it, last, best:METRIC), or --config-file")
    return find_trained(given.runs_folder, args.run, args.overrides)


def show(result: dict[str, Any], folder: Path | None, as_json: bool) -> None:
    """The scores, and where the files are."""
    if as_json:
        print(json.dumps(result))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("score", "value", title=f"{result['weights']} on {result['dataset']}, {result['samples']} samples")
    table.columns[1].justify = "right"
    for name, value in result["metrics"].items():
        table.add_row(name, f"{value:.6f}")
    console = Console()
    console.print(table)
    for key, value in result.get("changes", {}).items():
        console.print(f"said for this test: {key} {value}", soft_wrap=True, highlight=False, markup=False)
    classes = result.get("per_class")
    if classes and len(classes["classes"]) <= 100:
        columns = [name for name in classes if name not in ("classes", "support")]
        table = Table("class", *columns, "samples")
        for i, name in enumerate(classes["classes"]):
            table.add_row(name, *(f"{classes[c][i]:.4f}" for c in columns), f"{classes['support'][i]:.0f}")
        console.print(table)
    if folder is not None:
        console.print(f"test.json, predictions.csv and figures/ are in {folder}", soft_wrap=True)


if __name__ == "__main__":
    _root.run_tool(main)
