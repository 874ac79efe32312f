"""A run's best model as files that need no Fieldbook, each checked against it, with examples and a model card.

python tools/export.py last
python tools/export.py <run> --to onnx,torch-export -o shipped/
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _root

import config
from utils.files import size, write_atomic
from utils.logger import setup_logger

LOG = logging.getLogger("fieldbook.export")


def main(argv: Sequence[str]) -> int:
    """Writes the files and prints what was found of each; 1 where one could not be written or differs from the model."""
    args = config.parse_arguments(argv, tool="export")
    setup_logger()
    given = config.load(args)
    from engine.named_weights import find_trained
    from engine.shipping.build import load_for_export, sample_images
    from engine.shipping.export import SAMPLES, export_to
    from engine.shipping.exported import preprocessing, unexpressed
    from engine.shipping.formats import choose
    from tracking.screens.model_card import model_card

    formats = choose(args.to)
    cfg, weights, run = find_trained(given.runs_folder, args.run, args.overrides)
    out = Path(args.out) if args.out else run / "export"
    trained = load_for_export(cfg, weights)
    rows = export_to(trained, sample_images(trained, SAMPLES), formats, out, lambda text: LOG.info("%s", text))
    failed = [row for row in rows if "failed" in row]
    if len(failed) < len(formats):  # else all is left as it was
        card = out / "MODEL_CARD.md"
        old = card.read_text(encoding="utf-8") if card.is_file() else ""
        write_atomic(card, model_card(run, rows, preprocessing(trained), weights, old))
    for row in failed:
        LOG.error("%s: %s; %s", row["format"], row["failed"], row["advice"])
    for name in unexpressed(preprocessing(trained)):
        LOG.warning("the examples cannot take %s, a step of the run's test: add it to common.py", name)
    if trained.views:
        LOG.warning("TEST.AUGMENT %s is not in the files: they see the image alone", list(trained.views))
    if args.json:
        print(json.dumps({"run": run.name, "weights": weights.name, "folder": str(out), "formats": rows}))
    else:
        show(rows, out, f"{weights.name} of {run.name}")
    return 1 if failed else 0


def show(rows: Sequence[dict[str, Any]], out: Path, title: str) -> None:
    """A table, a line a format, and where the files are."""
    from rich.console import Console
    from rich.table import Table

    table = Table("format", "size", "worst difference", "batch 1", "batch 32", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        if "failed" in row:
            table.add_row(row["format"], "-", difference(row), "failed", "failed")
            continue
        times = [f"{milliseconds:.2f} ms" for milliseconds in row["latency_ms"].values()]
        table.add_row(row["format"], size(row["bytes"]), difference(row), *times)
    console = Console()
    console.print(table)
    first = rows[0]
    console.print(
        f"differences over {first['images']} test images, in batches of 1, 2, 7 and all; {first['allowed']:.1e} is allowed",
        soft_wrap=True,
        highlight=False,
    )
    if any("failed" not in row for row in rows[1:]):
        console.print(f"model, examples and MODEL_CARD.md are in {out}", soft_wrap=True, highlight=False)


def difference(row: dict[str, Any]) -> str:
    """The worst one of a format; - where there is no number for it."""
    worst = row.get("worst")
    return "-" if worst is None else f"{worst:.1e}"


if __name__ == "__main__":
    _root.run_tool(main)
