"""All runs as one table for pandas: a row a run, or, of the curves, a row a value."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from tracking.reading.index import Runs
from tracking.reading.summary import Row
from tracking.record import read_metrics

_FIELDS = (
    "id", "name", "status", "started", "ended", "seconds", "seed", "parent", "tags", "why", "expect", "verdict",
    "primary_metric", "value", "config_digest", "code_digest",
)  # fmt: skip
CURVES = ("run", "step", "epoch", "time", "metric", "value")


def table(runs: Runs, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One flat object a run: its fields, then `METRIC` (best) and `METRIC.last`, then all config keys."""
    runs.load_configs(row["id"] for row in rows)
    made = []
    for row in rows:
        flat = {field: row[field] for field in _FIELDS}
        for name, entry in sorted(row["metrics"].items()):
            flat |= {name: entry["best"], f"{name}.last": entry["last"]}
        made.append(flat | runs.config(row["id"]))
    return made


def curves(runs: Runs, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """One object a logged value; rows of metrics.jsonl that are torn or odd are passed over."""
    for row in rows:
        for line in read_metrics(runs.path(row) / "metrics.jsonl"):
            head = {"run": row["id"], **{key: line.get(key) for key in ("step", "epoch", "time")}}
            for name, value in line.items():
                if name not in ("step", "epoch", "time"):
                    yield {**head, "metric": name, "value": value}


def write_csv(rows: Sequence[dict[str, Any]] | Iterator[dict[str, Any]], file: TextIO, columns: Sequence[str] = ()) -> int:
    """Writes CSV with the columns in the order they first occur; how many rows."""
    if not columns:
        rows = list(rows)
        columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(file, columns, restval="")
    writer.writeheader()
    count = 0
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
        count += 1
    return count


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else value
