"""exp.py adopt: old folders become records with what can be read from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_exp_records import Exp, run_exp

from tracking.keeping.old_files import read_log, read_notes
from utils.errors import UserError

LOG = """\
2019-05-21 10:11:12 INFO: Epoch[1] Iteration[100/938] Loss: 0.35
2019-05-21 10:12:00 INFO: Training Results - Epoch: 1 Avg accuracy: 0.912 Avg Loss: 0.33
2019-05-21 10:12:30 INFO: Validation Results - Epoch: 1 Avg accuracy: 0.920 Avg Loss: 0.30
2019-05-21 10:14:30 INFO: Validation Results - Epoch: 2 Avg accuracy: 0.950 Avg Loss: 0.20
"""


@pytest.fixture
def exp(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exp:
    """The tool on an empty folder of runs."""
    return run_exp(capsys, monkeypatch, tmp_path / "exp")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Three old runs: a log with YAML and weights, TensorBoard files, weights alone."""
    top = tmp_path / "old"
    first = top / "mnist_2019-05-21_10-11-12"
    (first / "weights").mkdir(parents=True)
    (first / "log.txt").write_text(LOG)
    (first / "config.yml").write_text("SOLVER:\n  BASE_LR: 0.01\n  STEPS: (500,)\nMODEL:\n  DEVICE: cuda\n")
    (first / "weights" / "mnist_model_10.pth").write_bytes(b"w" * 100)
    events(top / "2020-01-02" / "tb", {"val/accuracy": [0.5, 0.8, 0.7]})
    (top / "lenet").mkdir()
    (top / "lenet" / "model.pth").write_bytes(b"w" * 50)
    (top / "notes").mkdir()
    (top / "notes" / "readme.md").write_text("no run")
    return top


def events(folder: Path, scalars: dict[str, list[float]]) -> None:
    """A TensorBoard event file."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for name, values in scalars.items():
        for step, value in enumerate(values):
            summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
            writer.add_event(Event(step=step, wall_time=1000.0 + step, summary=summary))
    writer.close()


def rows(exp: Exp) -> dict[str, Any]:
    """`ls --json` by name."""
    return {row["name"]: row for row in json.loads(exp("ls", "--json")[1])}


def test_old_folders_become_records_with_all_that_can_be_read(exp: Exp, old: Path, tmp_path: Path) -> None:
    code, out, _ = exp("adopt", str(old), "--json")
    assert code == 0 and len(json.loads(out)) == 3
    found = rows(exp)
    mnist = found["mnist"]
    assert mnist["id"] == "mnist_2019-05-21_10-11-12" and mnist["started"].startswith("2019-05-21T10:11:12")
    assert mnist["metrics"]["val/accuracy"] == {"last": 0.95, "best": 0.95, "best_step": 2}
    assert mnist["metrics"]["val/loss"]["best"] == 0.2 and mnist["primary_metric"] == "val/accuracy"
    assert (tmp_path / "exp" / mnist["id"] / "weights" / "mnist_model_10.pth").read_bytes() == b"w" * 100
    assert (
        found["old"]["metrics"]["val/accuracy"]["best"] == pytest.approx(0.8) and found["old"]["started"][:10] == "2020-01-02"
    )
    assert found["lenet"]["metrics"] == {} and found["lenet"]["code_digest"] == ""
    assert json.loads(exp("ls", "--json", "--where", "SOLVER.BASE_LR=0.01")[1])[0]["name"] == "mnist"
    assert exp("show", "mnist")[0] == 0 and json.loads(exp("groups", "--json")[1]) == []
    assert exp("restore", "mnist", str(tmp_path / "back"))[0] == 2


def test_adopting_twice_makes_nothing_twice(exp: Exp, old: Path) -> None:
    exp("adopt", str(old))
    assert json.loads(exp("adopt", str(old), "--json")[1]) == [] and len(rows(exp)) == 3


def test_notes_typed_in_from_paper_are_joined(exp: Exp, old: Path, tmp_path: Path) -> None:
    table = tmp_path / "paper.csv"
    table.write_text(
        "folder,why,verdict,tags,test/top1,room\nlenet,first try,works,old paper,97.5%,B12\nnowhere,,,,,\n",
        encoding="utf-8-sig",
    )
    code, _, err = exp("adopt", str(old), "--notes", str(table))
    assert code == 0 and "nowhere" in err
    lenet = rows(exp)["lenet"]
    assert (lenet["why"], lenet["verdict"], lenet["tags"]) == ("first try", "works", ["old", "paper"])
    assert lenet["value"] == pytest.approx(0.975)
    assert "room: B12" in (tmp_path / "exp" / lenet["id"] / "notes.md").read_text()


def test_a_dated_backup_of_several_runs_is_not_one_run(exp: Exp, tmp_path: Path) -> None:
    for name in ("lenet", "resnet", "vgg"):
        (tmp_path / "backup_2024-01-31" / name / "weights").mkdir(parents=True)
        (tmp_path / "backup_2024-01-31" / name / "weights" / "m.pth").write_bytes(b"w")
    assert exp("adopt", str(tmp_path / "backup_2024-01-31"))[0] == 0
    assert set(rows(exp)) == {"lenet", "resnet", "vgg"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("epoch: 2 loss: 1.5, accuracy: 0.8", {"train/loss": 1.5, "train/accuracy": 0.8}),
        ("Epoch 2: train loss 1.5000 val acc 0.800", {"train/loss": 1.5, "val/acc": 0.8}),
    ],
)
def test_common_log_lines_are_understood(line: str, found: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(f"{line}\n")
    assert {name: points[0][2] for name, points in read_log(tmp_path / "log.txt").items()} == found


def test_torn_files_do_not_stop_the_others(exp: Exp, old: Path) -> None:
    (old / "2020-01-02" / "tb" / "events.out.tfevents.1.host").write_bytes(b"\x00garbage" * 50)
    (old / "lenet" / "config.yml").write_text("!!python/object:os.system {}")
    assert exp("adopt", str(old))[0] == 0 and len(rows(exp)) == 3


def test_log_lines_give_scores_by_split(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(LOG + "Epoch 3 test acc: 91.5% loss=0.5\n")
    curves = read_log(tmp_path / "log.txt")
    assert [point[2] for point in curves["val/accuracy"]] == [0.92, 0.95] and curves["test/acc"][0][2] == pytest.approx(0.915)
    assert curves["train/loss"][-1][::2] == (100, 0.35)


def test_what_cannot_be_adopted_is_exit_code_2(exp: Exp, tmp_path: Path) -> None:
    assert exp("adopt", str(tmp_path / "nowhere"))[0] == 2
    (tmp_path / "twice.csv").write_text("folder,why\na,1\na,2\n")
    with pytest.raises(UserError, match="twice.csv:3"):
        read_notes(tmp_path / "twice.csv")
