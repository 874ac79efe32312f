"""What a run's best model says of any image files.

python tools/predict.py last photos/
python tools/predict.py <run> a.jpg b.png --top 5 --grid said.png
find photos -name "*.jpg" | python tools/predict.py <run> - --csv > said.csv
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import _root

import config
from utils.errors import UserError
from utils.logger import setup_logger

LOG = logging.getLogger("fieldbook.predict")


def main(argv: Sequence[str]) -> int:
    """Prints a line for each file as soon as it is predicted; 1 where one could not be read."""
    args = config.parse_arguments(argv, tool="predict")
    setup_logger()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # paths that are not UTF-8 come out as they went in
    check(args)
    given = config.load(args)
    from engine.named_weights import find_trained
    from engine.shipping.build import load_trained
    from engine.shipping.grid import MOST, draw_predictions
    from engine.shipping.predictor import Prediction, Predictor
    from engine.shipping.screen import make_writer

    cfg, weights, run = find_trained(given.runs_folder, args.run, args.overrides)
    predictor = Predictor(load_trained(cfg, weights), top=args.top)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 0
    writer = make_writer(args.form, predictor.kind, predictor.classes, args.top, width)
    shown: list[Prediction] = []
    count, bad, began = 0, 0, time.perf_counter()
    for one in predictor.stream(files(args.files)):
        writer.write(one)
        sys.stdout.flush()
        if one.error:
            bad += 1
            LOG.warning("%s", one.error)
        elif args.grid and len(shown) < MOST:
            shown.append(one)
        count += 1
    good = count - bad
    rate = f", {count / (time.perf_counter() - began):.0f} a second" if good else ""
    LOG.info("%d image%s by %s of %s%s", good, "s" * (good != 1), weights.name, run.name, rate)
    if args.grid and shown:
        few = f"the first {len(shown)} of {good} images" if good > len(shown) else f"{len(shown)} images"
        below = f"{few}; {weights.name}"
        LOG.info("%s", draw_predictions(shown, predictor.trained.channels, run.name, below, Path(args.grid)))
    if bad:
        LOG.warning("%d of %d files could not be read", bad, count)
    return 1 if bad else 0


def check(args: argparse.Namespace) -> None:
    """Sets `form`; raises UserError where arguments do not fit each other, before anything slow is done."""
    if args.json and args.csv:
        raise UserError("--json and --csv: take one of them")
    args.form = "json" if args.json else "csv" if args.csv else "table"
    if args.top < 1:
        raise UserError(f"--top {args.top}: at least 1")
    if args.grid:
        from engine.shipping.grid import SUFFIXES

        path = Path(args.grid)
        if path.suffix.lower() not in SUFFIXES:
            raise UserError(f"--grid {path}: a picture is a {', '.join(SUFFIXES)}")
        if not path.resolve().parent.is_dir():
            raise UserError(f"--grid {path}: there is no folder {path.parent}; make it first")
    if "-" in args.files and sys.stdin.isatty():
        LOG.info("reading paths from the terminal, one a line; Ctrl-D ends them")
    from engine.features import walk_images

    for place in args.files:
        if os.path.isdir(place) and next(walk_images(place), None) is None:
            raise UserError(f"{place}: no images below it")
        kind = os.path.splitext(place)[1].lower()
        if kind in (".csv", ".json", ".jsonl") and not os.path.exists(place):
            flag = "--csv" if kind == ".csv" else "--json"
            raise UserError(f"{place}: no such image; {flag} prints to stdout, write {flag} > {shlex.quote(place)}")


def files(places: Sequence[str]) -> Iterator[str]:
    """The files themselves, the images below folders, and for `-` the lines of stdin; one after another."""
    from engine.features import walk_images

    for place in places:
        if place == "-":
            # Not sys.stdin: Python could not take that down while a thread waits for its next line.
            with open(os.dup(0), encoding="utf-8", errors="surrogateescape") as lines:
                yield from (line.rstrip("\r\n") for line in lines if line.strip())
        elif os.path.isdir(place):
            yield from walk_images(place)
        else:
            yield place


if __name__ == "__main__":
    _root.run_tool(main)
