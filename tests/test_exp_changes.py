"""exp.py note, tag, verdict, restore, rerun, rm, prune, undo: nothing is lost, and nothing is claimed that was not checked."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT, TINY, command
from test_exp_records import Exp, edit, make_run, run_exp

from tracking import snapshot
from tracking.keeping import trash
from tracking.keeping.restore import compare
from tracking.notes import add_note, parse_notes
from tracking.reading.index import load

WEIGHTS = ("best.pt", "last.pt", "epoch_0001.pt", "epoch_0002.pt", "manifest.json")


@pytest.fixture
def exp(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exp:
    """The tool on a parent and its child, both with weights."""
    parent = make_run(tmp_path / "exp", number=1, weights=WEIGHTS, scores={"val/top1": 0.9})
    make_run(tmp_path / "exp", number=2, weights=WEIGHTS, parent=parent.name, scores={"val/top1": 0.9})
    return run_exp(capsys, monkeypatch, tmp_path / "exp")


def child(tmp_path: Path) -> Path:
    """The child's folder."""
    return tmp_path / "exp" / "base_2026-11-01_02-00-00"


def test_notes_verdict_and_tags_leave_the_rest_of_the_file_alone(exp: Exp, tmp_path: Path) -> None:
    file = child(tmp_path) / "notes.md"
    file.write_text("# Why\nkept\n\n## my own heading\nkept too\n# Notes\nold\n")
    assert exp("note", "last", "a", "line")[0] == 0
    assert exp("verdict", "last", "# Why\nis this a heading?")[0] == 0
    assert json.loads(exp("tag", "last", "a", "b", "a", "--json")[1])["tags"] == ["a", "b"]
    assert json.loads(exp("untag", "last", "b", "--json")[1])["tags"] == ["a"]
    notes = parse_notes(file.read_text())
    assert "my own heading\nkept too" in notes["Why"] and notes["Notes"].startswith("old\n20") and notes["Tags"] == "a"
    assert notes["Verdict"].endswith("is this a heading?") and notes["Why"].startswith("kept")


def test_notes_written_at_once_are_all_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: add_note(run, f"note-{number}."), range(40)))
    text = (run / "notes.md").read_text()
    assert all(f"note-{number}." in text for number in range(40))


def test_bad_tags_and_empty_texts_are_refused(exp: Exp) -> None:
    for words in (["tag", "last", "two words"], ["verdict", "last", " "], ["note", "last", ""]):
        assert exp(*words)[0] == 2, words


def test_prune_shows_bytes_first_and_keeps_best_last_and_parents(exp: Exp, tmp_path: Path) -> None:
    plan = json.loads(exp("prune", "--json")[1])
    assert plan["done"] is False and plan["bytes"] == 2000 and len(list((child(tmp_path) / "weights").iterdir())) == 5
    before = {p: p.read_bytes() for p in (tmp_path / "exp").rglob("*") if p.is_file() and ".index" not in p.parts}
    assert "2.0 kB" in exp("prune")[1]
    assert json.loads(exp("prune", "--yes", "--json")[1])["done"] is True
    gone = {p.name for p in before if not p.exists()}
    assert gone == {"epoch_0001.pt", "epoch_0002.pt"} and len(list((tmp_path / "exp").glob("base*01-00-00/weights/*"))) == 5
    assert exp("undo")[0] == 0
    assert {p: p.read_bytes() for p in before} == before


def test_prune_leaves_adopted_weights_alone(exp: Exp, tmp_path: Path) -> None:
    edit(child(tmp_path) / "run.json", adopted="/old/mnist_2019")
    assert json.loads(exp("prune", "--json")[1])["paths"] == []


def test_undo_brings_back_a_run_that_is_a_link(exp: Exp, tmp_path: Path) -> None:
    child(tmp_path).rename(tmp_path / "elsewhere")
    child(tmp_path).symlink_to("../elsewhere")
    assert exp("rm", child(tmp_path).name)[0] == 0 and not child(tmp_path).is_symlink()
    assert exp("undo")[0] == 0 and child(tmp_path).is_symlink() and (tmp_path / "elsewhere" / "run.json").is_file()


def test_rm_takes_runs_away_and_undo_brings_them_back_newest_first(exp: Exp, tmp_path: Path) -> None:
    assert exp("rm", "last")[0] == 0 and not child(tmp_path).exists()
    assert exp("rm", "01-00-00")[0] == 0
    assert json.loads(exp("ls", "--json")[1]) == []
    assert json.loads(exp("undo", "--json")[1])["paths"] == ["base_2026-11-01_01-00-00"]
    assert exp("undo")[0] == 0 and len(json.loads(exp("ls", "--json")[1])) == 2
    assert exp("undo")[0] == 2


def test_rm_refuses_ambiguous_names_and_living_runs(exp: Exp, tmp_path: Path) -> None:
    code, _, err = exp("rm", "base")
    assert code == 2 and "02-00-00" in err
    assert exp("rm")[0] == 2
    edit(child(tmp_path) / "status.json", status="running")
    code, _, err = exp("rm", "last")
    assert code == 2 and "still running on elsewhere" in err and child(tmp_path).exists()


def test_undo_never_overwrites(exp: Exp, tmp_path: Path) -> None:
    exp("rm", "last")
    child(tmp_path).mkdir()
    assert exp("undo")[0] == 2 and trash.trash_bytes(tmp_path / "exp") > 5000
    child(tmp_path).rmdir()
    assert exp("undo")[0] == 0 and (child(tmp_path) / "run.json").is_file()


def test_a_removal_that_fails_halfway_is_put_back(tmp_path: Path) -> None:
    run = make_run(tmp_path, weights=WEIGHTS)
    items = trash.plan_pruning(load(tmp_path), load(tmp_path).rows)
    items.append(trash.Item(run.name, f"{run.name}/weights/not_there.pt", 1))
    with pytest.raises(trash.UserError, match="nothing was removed"):
        trash.move(tmp_path, items, "prune")
    assert len(list((run / "weights").iterdir())) == 5 and trash._entries(tmp_path) == []


def test_the_trash_is_emptied_only_on_demand(exp: Exp, tmp_path: Path) -> None:
    exp("rm", "last")
    assert json.loads(exp("rm", "--empty-trash", "--json")[1])["done"] is False and (tmp_path / "exp" / ".trash").is_dir()
    assert exp("rm", "--empty-trash", "--yes")[0] == 0 and not (tmp_path / "exp" / ".trash").exists()


def test_restore_gives_the_verified_code_and_config(exp: Exp, tmp_path: Path) -> None:
    code, out, _ = exp("restore", "last", str(tmp_path / "back"), "--json")
    assert code == 0 and "--config-file" in json.loads(out)["command"]
    assert (tmp_path / "back" / "modeling" / "net.py").read_text() == "WIDTH = 8\n"
    assert (tmp_path / "back" / "config.yml").read_bytes() == (child(tmp_path) / "config.yml").read_bytes()
    assert exp("restore", "last", str(tmp_path / "back"))[0] == 2


def test_restore_into_the_empty_folder_one_stands_in(exp: Exp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert exp("restore", "last", ".")[0] == 0
    assert (tmp_path / "here" / "modeling" / "net.py").is_file()


def test_restore_names_what_was_changed_on_the_way(exp: Exp, tmp_path: Path) -> None:
    edit(child(tmp_path) / "status.json", sessions=[{}, {"changes": {"SOLVER.MAX_EPOCHS": [3, 6]}}])
    (child(tmp_path) / "scripts.2.sha256").write_text("")
    for name in ("scripts.2",):
        (child(tmp_path) / name).mkdir()
        (child(tmp_path) / name / "a.py").write_text("x")
    digest = hashlib.sha256(b"x").hexdigest()
    (child(tmp_path) / "scripts.2.sha256").write_text(f"{digest}  scripts.2/a.py\n")
    code, out, err = exp("restore", "last", str(tmp_path / "back"), "--json")
    assert code == 0 and json.loads(out)["command"].endswith("SOLVER.MAX_EPOCHS 6") and "resumed with other code" in err


def test_unknown_code_is_not_shown_as_added(exp: Exp, tmp_path: Path) -> None:
    parent = tmp_path / "exp" / "base_2026-11-01_01-00-00"
    (parent / "scripts.sha256").unlink()
    edit(parent / "run.json", code_digest="", adopted="/old/base")
    assert "unknown of one of the two" in exp("show", "last")[1] and "+1 -0" not in exp("show", "last")[1]
    assert json.loads(exp("show", "last", "--json")[1])["code"] is None
    assert json.loads(exp("blame", "val/top1", "last", "--json")[1])["steps"][0]["code"] is None


def test_reruns_are_no_open_questions(exp: Exp, tmp_path: Path) -> None:
    make_run(tmp_path / "exp", "again", 5, why="rerun of base", tags=["rerun"])
    make_run(tmp_path / "exp", "idea", 6, why="an idea")
    assert [row["name"] for row in json.loads(exp("ls", "--open", "--json")[1])] == ["idea"]


@pytest.mark.parametrize("damage", ["edited", "missing", "no list"])
def test_restore_refuses_code_that_is_not_what_it_was(exp: Exp, tmp_path: Path, damage: str) -> None:
    if damage == "edited":
        (child(tmp_path) / "scripts" / "modeling" / "net.py").write_text("WIDTH = 9\n")
    elif damage == "missing":
        (child(tmp_path) / "scripts" / "modeling" / "net.py").unlink()
    else:
        (child(tmp_path) / "scripts.sha256").unlink()
    code, _, err = exp("restore", "last", str(tmp_path / "back"))
    assert code == 2 and err.count("\n") == 1 and not (tmp_path / "back").exists()
    assert exp("rerun", "last")[0] == 2


def test_comparing_curves_overlooks_clocks_only(tmp_path: Path) -> None:
    a, b = make_run(tmp_path, number=1, scores={"val/top1": 0.9}), make_run(tmp_path, number=2, scores={"val/top1": 0.9})
    lines = [json.loads(line) for line in (b / "metrics.jsonl").read_text().splitlines()]
    slower = [{**line, "time": 9.9, "time/step": 1.0, "samples_per_second": 2.0} for line in lines]
    (b / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in slower) + '{"step": 3, "train/lo')
    assert compare(a, b) == {}
    slower[1]["train/loss"] += 1e-12
    (b / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in slower))
    assert list(compare(a, b)) == ["train/loss at step 1"]


@pytest.mark.slow
def test_rerun_proves_equal_metrics_after_the_tree_moved_on(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "runs"
    snapshot.take(ROOT, tree)
    made = command(str(tree / "tools" / "train_net.py"), *TINY, "--output-dir", str(out), cwd=tree)
    assert made.returncode == 0, made.stderr
    (tree / "modeling" / "build.py").write_text("broken(")
    exp = str(tree / "tools" / "exp.py")
    equal = command(exp, "rerun", "last", "--json", "--output-dir", str(out), cwd=tree)
    assert equal.returncode == 0, equal.stdout + equal.stderr
    found = json.loads(equal.stdout)
    assert found["equal"] is True and found["run"] != found["original"]
    other = command(exp, "rerun", found["original"], "SOLVER.BASE_LR", "0.5", "--json", "--output-dir", str(out), cwd=tree)
    assert other.returncode == 1 and json.loads(other.stdout)["config"] == {"SOLVER.BASE_LR": [0.01, 0.5]}


@pytest.mark.slow
def test_restored_code_runs_after_the_run_was_copied_to_another_machine(tmp_path: Path) -> None:
    made = command("tools/train_net.py", *TINY, "--output-dir", str(tmp_path / "exp"))
    assert made.returncode == 0, made.stderr
    there = tmp_path / "other machine"
    shutil.copytree(next((tmp_path / "exp").glob("tiny_*")), there / "exp" / "tiny_2026-11-01_00-00-00")
    shutil.rmtree(tmp_path / "exp")
    tool = str(there / "exp" / "tiny_2026-11-01_00-00-00" / "scripts" / "tools" / "exp.py")
    restored = command(tool, "restore", "last", "back", "--json", cwd=there)
    assert restored.returncode == 0, restored.stderr
    script, *words = shlex.split(json.loads(restored.stdout)["command"])[1:]
    again = command(script, *words, "--output-dir", "new", cwd=there)
    assert again.returncode == 0, again.stderr
    old, new = (next((there / name).glob("tiny_*")) for name in ("exp", "new"))
    assert compare(old, new) == {}
