"""Curves as the report page has them: no extreme lost, fair means, epochs where they ended."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from test_exp_records import edit, make_run

from tracking.page.curves import POINTS, downsample, read_curves
from tracking.page.run_data import run_data
from tracking.reading.index import load


def test_curves_keep_their_extremes_ends_and_gaps(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"step": s, "epoch": 0, "time": s / 2, "a": math.sin(s / 50), "b": s} for s in range(4000)]
    rows[1234]["a"], rows[2000]["a"], rows[3000]["a"] = 9.0, None, "text"
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 9')
    found = read_curves(tmp_path)
    which, values = found["curves"]["a"][:2]
    steps = found["steps"][which]
    assert len(values) == len(steps) <= POINTS and steps == sorted(steps) and steps[0] == 0 and steps[-1] == 3999
    assert max(value for value in values if value is not None) == 9.0 and None in values
    assert found["time"][0][-1] == 3999 and found["time"][1][-1] == 1999.5
    assert downsample([(1, 2.0)]) == [(1, 2.0)]


def test_long_curves_are_smoothed_and_pooled_by_their_means(tmp_path: Path) -> None:
    for name, count in (("long", 4000), ("short", 1900)):  # mostly 0, now and then 100: extremes say nothing of the mean
        rows = [
            {"step": s, "a": 100.0 if s % 100 == 7 else 0.0, "b": None if s < 999 else 1e308 * (-1) ** s} for s in range(count)
        ]
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    long, short = (read_curves(tmp_path / name) for name in ("long", "short"))
    _, _, width, at, means, counts = long["curves"]["a"]
    assert width == 16 and len(long["steps"][at]) == len(means) == 250 and long["steps"][at][:2] == [8, 24]
    assert sum(counts) == 4000 and sum(m * n for m, n in zip(means, counts, strict=True)) / 4000 == pytest.approx(1.0)
    assert long["curves"]["b"][4][0] is None and long["curves"]["b"][5][0] == 0
    assert short["curves"]["a"][2] == 8 and short["curves"]["a"][4][0] == 12.5


def test_epochs_are_where_the_rows_say_they_ended(tmp_path: Path) -> None:
    make_run(tmp_path)
    runs = load(tmp_path)
    row = runs.rows[0]
    path = runs.path(row)
    train = [{"step": s, "epoch": s // 100 if s % 100 else s // 100 - 1, "train/loss": 1.0} for s in range(10, 360, 10)]
    ends = [{"step": 200, "epoch": 2, "val/top1": 0.5}, {"step": 300, "epoch": 3, "val/top1": 0.5}]
    (path / "metrics.jsonl").write_text(
        "".join(json.dumps(one) + "\n" for one in sorted(train + ends, key=lambda r: r["step"]))
    )
    edit(path / "status.json", progress={"total_steps": 350})
    runs.config(row["id"]).update({"SOLVER.MAX_EPOCHS": 1000, "SOLVER.MAX_STEPS": 350, "SOLVER.IMS_PER_BATCH": 8})
    assert run_data(runs, row)["epoch"] == [[0, 200, 300, 350], [0, 2, 3, 3.5]]
    (path / "metrics.jsonl").write_text(json.dumps(train[0]) + "\n")
    assert run_data(runs, row)["epoch"] == [[], []]
    session = {"changes": {"SOLVER.MAX_STEPS": [350, 0], "SOLVER.MAX_EPOCHS": [1000, 7], "SOLVER.IMS_PER_BATCH": [8, 16]}}
    edit(path / "status.json", sessions=[session])
    found = run_data(runs, row)
    assert found["epoch"] == [[0, 350], [0, 7]] and found["batch"] == 16
