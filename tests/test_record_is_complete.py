"""A run leaves everything that the design promises, and its scores can be had again to the last digit."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, command, newest, read_json

import tracking
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]


def test_run_leaves_a_whole_record(train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*TINY, "--why", "is it whole?", "--tag", "a")
    assert code == 0, log
    run = newest(tmp_path / "exp")
    for name in (
        "run.json", "status.json", "config.yml", "notes.md", "log.txt", "metrics.jsonl", "weights/last.pt",
        "weights/best.pt", "weights/epoch_0003.pt", "weights/manifest.json", "scripts/tools/train_net.py",
        "scripts.sha256", "env.txt", "test.json", "predictions.csv", "figures/confusion_test.png", "figures/curves.png",
    ):  # fmt: skip
        assert (run / name).is_file(), name
    assert list((run / "runs").glob("events.out.tfevents.*"))
    start, status = read_json(run / "run.json"), read_json(run / "status.json")
    assert start["id"] == run.name and start["why"] == "is it whole?" and start["tags"] == ["a"] and start["schema"] == 1
    assert start["data"]["test"]["samples"] == 96 and start["origins"]["SOLVER.MAX_EPOCHS"] == "command line"
    assert status["status"] == "finished" and status["progress"] == {"epoch": 3, "step": 18, "total_steps": 18}
    assert status["primary_metric"] == "val/top1" and "train/loss" in (run / "metrics.jsonl").read_text()
    assert "is it whole?" in (run / "log.txt").read_text()
    assert subprocess.run(["sha256sum", "-c", "--quiet", "scripts.sha256"], cwd=run).returncode == 0


def test_test_net_gives_the_training_s_score_to_the_last_digit(train: Train, tmp_path: Path) -> None:
    import test_net

    train(*TINY)
    run = newest(tmp_path / "exp")
    at_end = read_json(run / "test.json")
    (run / "test.json").unlink()
    code, _, out = train("last", "--json", main=test_net.main)
    assert code == 0 and out.startswith("{") and read_json(run / "test.json") == at_end
    last = {name: entry["last"] for name, entry in read_json(run / "status.json")["metrics"].items()}
    assert at_end["metrics"] == {name: value for name, value in last.items() if name.startswith("test/")}


@pytest.mark.slow
def test_a_compiled_training_scores_as_test_net_does(tmp_path: Path) -> None:
    done = command("tools/train_net.py", *TINY, "MODEL.COMPILE", "true", "--output-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    run = newest(tmp_path)
    at_end = read_json(run / "test.json")
    (run / "test.json").unlink()
    tested = command("tools/test_net.py", str(run))
    assert tested.returncode == 0 and read_json(run / "test.json") == at_end, tested.stderr


def test_own_config_of_a_run_repeats_it(train: Train, tmp_path: Path) -> None:
    train(*TINY)
    first = newest(tmp_path / "exp")
    code, log, _ = train("--config-file", str(first / "config.yml"))
    assert code == 0, log
    second = newest(tmp_path / "exp")
    assert second != first
    assert read_json(second / "test.json") == read_json(first / "test.json")
    assert read_json(second / "run.json")["config_digest"] == read_json(first / "run.json")["config_digest"]
    assert read_json(second / "run.json")["parent"] == first.name


def test_card_shows_what_differs_from_the_parent(train: Train, tmp_path: Path) -> None:
    train(*TINY)
    code, log, _ = train(*TINY, "SOLVER.BASE_LR", "0.02")
    assert code == 0 and "SOLVER.BASE_LR: 0.01 (default) -> 0.02 (command line)" in " ".join(log.split())


def test_card_shows_changed_packages_and_code(train: Train, tmp_path: Path) -> None:
    train(*TINY)
    first = newest(tmp_path / "exp")
    facts = read_json(first / "run.json")
    facts["environment"]["packages"]["torch"] = "0.0.1"
    (first / "run.json").write_text(json.dumps(facts))
    (first / "scripts" / "README.md").write_text("one line\n")
    sums = first / "scripts.sha256"
    sums.write_text(sums.read_text().replace("  scripts/README.md", "0  scripts/README.md"))
    code, log, _ = train(*TINY)
    assert code == 0 and "torch 0.0.1 -> " in log and re.search(r"README\.md \+\d+ -1", log), log


def test_the_end_says_what_became_of_the_claim(train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*TINY, "--expect", "val/loss < 100", "--why", "a start")
    assert code == 0 and "proposed: held: val/loss" in log and "the noise is unknown" in log
    code, log, _ = train(*TINY, "--expect", "val/top1 > parent + 2", "SOLVER.BASE_LR", "0.02")
    assert code == 0 and "proposed: did not hold: val/top1" in log and "exp.py diff tiny_" in log
    assert "# Verdict\n\n" in (newest(tmp_path / "exp") / "notes.md").read_text()  # proposed, never written for a person


def test_hand_edited_records_stop_no_training(train: Train, tmp_path: Path) -> None:
    train(*TINY)
    run = newest(tmp_path / "exp")
    for wrong in ({"schema": "2", "tags": None, "git": 3}, {"environment": [], "origins": "x", "parent": 7}):
        (run / "run.json").write_text(json.dumps({**read_json(run / "run.json"), **wrong}))
        (run / "status.json").write_text(json.dumps({**read_json(run / "status.json"), "sessions": [3], "metrics": {"a": 1}}))
        code, log, _ = train(*TINY)
        assert code == 0 and "Traceback" not in log, log


def start(tmp_path: Path, name: str = "x", **facts: Any) -> tracking.Run:
    """A run of a small tree."""
    root = tmp_path / "tree"
    root.mkdir(exist_ok=True)
    (root / "net.py").write_text("WIDTH = 8\n")
    return tracking.start_run(
        tmp_path / "exp",
        tracking.Facts(root=root, name=name, config="", config_digest="c", origins={}, seed=0, command=[], **facts),
    )


def test_a_run_ends_whatever_became_of_its_tree(tmp_path: Path) -> None:
    run = start(tmp_path)
    for number in range(5001):
        (tmp_path / "tree" / f"dump{number}.txt").touch()
    (tmp_path / "tree" / "net.py").unlink()
    run.finish("finished")
    status = read_json(run.path / "status.json")
    assert status["status"] == "finished" and status["code_edited"] == {"removed": ["net.py"]}


def test_the_direction_of_a_score_is_recorded_and_test_scores_are_not_selected(tmp_path: Path) -> None:
    from tracking.reading.index import load
    from tracking.reading.lookup import ranking

    for name, values in (("a", (3.0, 2.0)), ("b", (1.0, 5.0))):
        run = start(tmp_path, name)
        for value in values:
            scores = {f"{split}/fid": value for split in ("val", "test")}
            run.update(metrics={"val/fid": scores["val/fid"]}, lower_is_better=frozenset({"fid"}))
            run.update(metrics={"test/fid": scores["test/fid"]}, lower_is_better=frozenset({"fid"}), final=True)
        run.finish("finished")
    rows = load(tmp_path / "exp").rows
    assert [row["metrics"]["test/fid"]["best"] for row in rows] == [2.0, 5.0]
    assert [row["name"] for row in ranking(rows, "val/fid")] == ["b", "a"]
    assert [row["name"] for row in ranking(rows, "test/fid")] == ["a", "b"]


def test_reasons_and_tags_cannot_break_the_notes(tmp_path: Path) -> None:
    from tracking import notes

    run = start(tmp_path, why="try\n# Verdict\nworks", tags=["a"])
    notes.set_verdict(run.path, "it helped")
    found = tracking.read_record(run.path).notes
    assert found["Verdict"] == "it helped" and found["Why"] == "try\n # Verdict\nworks"
    with pytest.raises(UserError, match="one word"):
        start(tmp_path, tags=["two words"])
    assert len(list((tmp_path / "exp").iterdir())) == 1


def test_a_run_tagged_debug_later_is_no_parent(train: Train, tmp_path: Path) -> None:
    from tracking import notes

    train(*TINY)
    first = newest(tmp_path / "exp")
    train(*TINY, "--tag", "debug")
    train(*TINY)
    assert read_json(newest(tmp_path / "exp") / "run.json")["parent"] == first.name
    for run in (tmp_path / "exp").glob("tiny_*"):
        notes.change_tags(run, ["debug"], [])
    train(*TINY)
    assert read_json(newest(tmp_path / "exp") / "run.json")["parent"] == ""


def test_code_edited_during_the_run_is_noticed(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "net.py").write_text("WIDTH = 8\n")
    facts = tracking.Facts(
        root=root, name="x", config="", config_digest="", origins={}, seed=0, command=[]
    )  # fmt: skip
    run = tracking.start_run(tmp_path / "exp", facts)
    (root / "net.py").write_text("WIDTH = 9\n")
    run.finish("finished")
    edited = read_json(run.path / "status.json")["code_edited"]
    assert edited == {"changed": ["net.py"]}
    assert (run.path / "scripts" / "net.py").read_text() == "WIDTH = 8\n"


def test_every_metric_row_is_one_whole_line(train: Train, tmp_path: Path) -> None:
    train(*TINY)
    rows: list[dict[str, Any]] = [json.loads(x) for x in (newest(tmp_path / "exp") / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps) and {2, 4, 18} <= set(steps)
    wanted = {"lr", "grad_norm", "samples_per_second", "memory_mb", "time/step", "time/data"}
    assert all(wanted <= set(row) for row in rows if "train/loss" in row)
