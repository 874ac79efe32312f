"""What a mirror gets: the facts, each row once, over cuts and resumes, figures, the end; and the real libraries, offline."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, command, newest, read_json
from mirror_fakes import add_rows, fake_library, fake_run, notes, set_status

import config
from tracking.lock import RunLock
from tracking.mirrors import Mirror, process
from tracking.mirrors.follow import Follower, Orders
from tracking.mirrors.process import finish_mirrors, start_mirrors
from tracking.record import read_metrics
from tracking.run import Run

Train = Callable[..., tuple[int, str, str]]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fake W&B is installed; the folder of its notes."""
    for name, value in fake_library(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(tmp_path / "libraries"))
    return tmp_path


def steps(folder: Path) -> list[int]:
    """Of the rows that the library got."""
    return [int(row["step"]) for (row,) in notes(folder, "row") if "step" in row]


def record_of(run: Path) -> Run:
    """The run as a training holds it."""
    status = {"status": "running", "metrics": {}, "progress": {}, "primary_metric": "", "sessions": []}
    return Run(run, status, run, {}, RunLock(run))


def wait_until(true: Callable[[], Any]) -> None:
    """For two minutes at the most."""
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_is_told_whole_and_goes_on_in_the_same_place(train: Train, library: Path, tmp_path: Path) -> None:
    words = [*TINY, "MIRRORS", "[{wandb: {entity: us}}]", "--why", "is it told?", "--tag", "x"]
    code, log, _ = train(*words)
    assert code == 0 and "mirror wandb: https://example.org/run" in log, log
    run = newest(tmp_path / "exp")
    ((init,),) = notes(library, "init")
    facts = read_json(run / "run.json")
    assert (init["name"], init["entity"], init["project"]) == (run.name, "us", tmp_path.name)
    assert (init["notes"], init["tags"], init["id"]) == ("is it told?", ["x"], None)
    assert init["config"]["SOLVER"]["IMS_PER_BATCH"] == 16 and init["config"]["run"]["code_digest"] == facts["code_digest"]
    assert init["config"]["run"]["git_commit"] == facts["git"]["commit"] and init["config"]["run"]["folder"] == str(run)
    own = read_metrics(run / "metrics.jsonl")
    told = [row for (row,) in notes(library, "row")]
    assert [{name: eval(value) for name, value in row.items()} for row in told if "step" in row] == own
    assert {"figures/curves", "figures/batch"} <= {name for row in told for name in row}
    ((exit_code, summary),) = notes(library, "finish")
    best = {f"best/{name}": entry["best"] for name, entry in read_json(run / "status.json")["metrics"].items()}
    assert exit_code == 0 and summary == {**best, "status": "finished"} and "best/test/top1" in best
    assert train("--resume", run.name, "--epochs", "4")[0] == 0
    _, (again,) = notes(library, "init")
    assert (again["id"], again["resume"], again["config"]["SOLVER"]["MAX_EPOCHS"]) == ("given", "allow", 4)
    assert steps(library) == [row["step"] for row in read_metrics(run / "metrics.jsonl")]


def test_mirrors_make_no_other_experiment() -> None:
    one, two = config.load_file(None), config.load_file(None, [("MIRRORS", "wandb")])
    assert one.flat() != two.flat() and config.digest(one) == config.digest(two)


def test_rows_are_sent_as_they_are_written_and_once(library: Path, tmp_path: Path) -> None:
    run = fake_run(tmp_path, rows=5)
    mirrors = start_mirrors(run, ["wandb"])
    wait_until(lambda: steps(library) == [1, 2, 3, 4, 5])
    add_rows(run, range(6, 8))
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "ep')  # is being written
    wait_until(lambda: steps(library) == [1, 2, 3, 4, 5, 6, 7])
    assert [row["train/loss"] for (row,) in notes(library, "row")][1:4] == ["1.0", "nan", "2.0"]
    with open(run / "metrics.jsonl", "a") as file:
        file.write('och": 0}\n')
    set_status(run, "failed")
    finish_mirrors(mirrors)
    assert steps(library) == [*range(1, 9)] and notes(library, "finish")[0][0] == 1
    assert read_json(run / "mirrors" / "wandb.json") == {"id": "given", "link": "https://example.org/run", "rows": 8}


@pytest.mark.parametrize("living", [True, False])
def test_after_a_cut_only_new_rows_are_sent(living: bool, library: Path, tmp_path: Path) -> None:
    """By a rollback in a living run, or before a resume."""
    run = fake_run(tmp_path, rows=9)
    mirrors = start_mirrors(run, ["wandb"])
    wait_until(lambda: len(steps(library)) == 9)
    if not living:
        finish_mirrors(mirrors)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "aside").write_text("".join(lines[:6]))
    (run / "aside").rename(run / "metrics.jsonl")
    if living:
        mirrors[0].goes_on_at(6)
    else:
        mirrors = start_mirrors(run, ["wandb"])
    add_rows(run, range(7, 12))
    set_status(run, "finished")
    finish_mirrors(mirrors)
    assert steps(library) == [*range(1, 10), *range(7, 12)]


def cut_and_grown(run: Path, record: Run, rows: int) -> None:
    """The run is cut to 20 rows and then has `rows`."""
    assert record.cut(20) == 10
    add_rows(run, range(21, rows + 1))
    record.finish("finished")


def test_rows_after_a_cut_without_mirrors_are_sent_later(library: Path, tmp_path: Path) -> None:
    run = fake_run(tmp_path, rows=30)
    finish_mirrors(start_mirrors(run, ["wandb"]))
    cut_and_grown(run, record_of(run), 50)
    finish_mirrors(start_mirrors(run, ["wandb"]))
    assert steps(library) == [*range(1, 31), *range(21, 51)]


def test_rows_that_a_mirror_could_not_send_again_after_a_cut_are_sent_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes no row again: it fails, and what it notes then is the cut, not what it had sent before."""
    monkeypatch.setattr(signal, "alarm", lambda seconds: None)  # it would be for this process
    run = fake_run(tmp_path, rows=30)
    (run / "mirrors").mkdir()
    inlet, outlet = os.pipe()
    with open(inlet) as orders, open(outlet, "w", buffering=1) as training:

        class Failing(Mirror):
            def scalars(self, step: int, values: dict[str, float]) -> None:
                if step == 30:
                    (run / "metrics.jsonl").unlink()
                    add_rows(run, range(1, 25))
                    training.write("rows 20\n")
                elif follower.state["rows"]:
                    raise RuntimeError("no network")

        follower = Follower(run, "failing", Failing(), Orders(orders), sys.stdout)
        training.write("rows 30\n")
        with pytest.raises(RuntimeError, match="no network"):
            follower.follow()
        training.close()
        wait_until(lambda: follower.orders.ended)
    assert read_json(run / "mirrors" / "failing.json")["rows"] == 20


@pytest.mark.parametrize("note", ["{", "[]", '{"rows": null}'])
def test_a_note_that_cannot_be_read_ends_no_training(note: str, tmp_path: Path) -> None:
    run = fake_run(tmp_path, rows=30)
    (run / "mirrors").mkdir()
    (run / "mirrors" / "wandb.json").write_text(note)
    (run / "mirrors" / "trackio.json").write_text('{"id": "", "link": "", "rows": 30}')
    cut_and_grown(run, record_of(run), 25)
    assert read_json(run / "mirrors" / "trackio.json")["rows"] == 20


def test_what_was_not_sent_can_be_sent_later(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fake_run(tmp_path, rows=4)
    monkeypatch.setenv("FAKE_WANDB", "raises at init")
    finish_mirrors(start_mirrors(run, ["wandb"]))
    monkeypatch.setenv("FAKE_WANDB", "well at none")
    words = ["tools/mirror.py", run.name, "--output-dir", str(run.parent)]
    set_status(run, "finished")
    unnamed = command(*words)
    assert unnamed.returncode == 2 and "names no MIRRORS; say which: tools/mirror.py" in unnamed.stderr
    done = command(*words, "wandb")
    assert (done.returncode, done.stderr) == (0, "mirror wandb: https://example.org/run\n")
    assert steps(library) == [1, 2, 3, 4] and len(notes(library, "finish")) == 1
    monkeypatch.setenv("FAKE_WANDB", "raises at finish")
    failed = command(*words, "wandb")
    assert failed.returncode == 1 and "WARNING mirror wandb: RuntimeError" in failed.stderr
    assert steps(library) == [1, 2, 3, 4]


def test_a_run_that_another_process_writes_is_not_sent(library: Path, tmp_path: Path) -> None:
    """Another tools/mirror.py, or a resume that has just begun and has not yet said so."""
    run = fake_run(tmp_path, rows=4)
    set_status(run, "finished")
    lock = RunLock(run, "being mirrored")
    refused = command("tools/mirror.py", run.name, "wandb", "--output-dir", str(run.parent))
    lock.release(run)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1) and not (run / "mirrors").exists()
    assert f"{run.name} is still being mirrored: process {os.getpid()} on" in refused.stderr


@pytest.fixture
def ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], Path]]:
    """Mirrors a run twice, as if it had been resumed, with no network, and says no warning came of it."""
    monkeypatch.setattr(process, "PATIENCE", 60.0)
    monkeypatch.chdir(tmp_path)

    def mirrored(entry: Any) -> Path:
        run = fake_run(tmp_path, rows=4)
        (run / "figures" / "curves.png").write_bytes(PNG)
        for status, more in (("interrupted", range(5, 7)), ("finished", range(7, 9))):
            mirrors = start_mirrors(run, [entry])
            add_rows(run, more)
            set_status(run, status)
            finish_mirrors(mirrors)
            assert not mirrors[0].failed, (run / "mirrors").joinpath(f"{mirrors[0].name}.log").read_text()
        return run

    yield mirrored


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


@pytest.mark.slow
def test_wandb_writes_offline_files(ended: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = ended("wandb")
    identity = read_json(run / "mirrors" / "wandb.json")["id"]
    assert len(list((run / "mirrors" / "wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb"))) >= 1


@pytest.mark.slow
def test_mlflow_has_one_run_with_every_row(ended: Callable[[Any], Path], tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    place = f"sqlite:///{tmp_path / 'mlflow.db'}"
    run = ended({"mlflow": {"tracking_uri": place}})
    client = mlflow.MlflowClient(place)
    experiment = client.get_experiment_by_name("project")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == run.name and found.info.status == "FINISHED"
    assert [m.step for m in client.get_metric_history(found.info.run_id, "train/loss")] == [*range(1, 9)]
    assert found.data.params["SOLVER.BASE_LR"] == "0.1" and found.data.tags["git_commit"] == "abc"
    assert found.data.metrics["best/val/top1"] == 0.75
    assert [file.path for file in client.list_artifacts(found.info.run_id, "figures")] == ["figures/curves.png"]


@pytest.mark.slow
def test_trackio_has_one_run_with_every_row(
    ended: Callable[[Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    run = ended("trackio")
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        found = connection.execute("SELECT run_name, step FROM metrics ORDER BY step").fetchall()
    assert {name for name, _ in found} == {run.name} and {step for _, step in found} == {*range(1, 9)}
