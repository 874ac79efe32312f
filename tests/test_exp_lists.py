"""exp.py ls, show, diff, best, export: what stands in the files is what is shown, index or not."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, command, of_the_template
from test_exp_records import Exp, edit, make_run, run_exp

from tracking.reading import index
from tracking.reading.index import load
from tracking.reading.query import Condition, holds, parse
from utils.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four runs: a base, two children with a changed key and changed code, another name."""
    out = tmp_path / "exp"
    base = make_run(out, number=1, scores={"val/top1": 0.9, "val/loss": 0.5}, why="baseline")
    make_run(
        out,
        number=2,
        scores={"val/top1": 0.95},
        config={"SOLVER.BASE_LR": 0.01},
        parent=base.name,
        why="smoothing, smaller rate",
    )
    make_run(out, number=3, scores={"val/top1": 0.8}, code={"modeling/net.py": "WIDTH = 9\n"}, parent=base.name, tags=["wide"])
    make_run(out, "other", 4, scores={"val/top1": 0.7}, status="failed")
    return out


@pytest.fixture
def exp(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Exp:
    """The tool on these runs."""
    return run_exp(capsys, monkeypatch, folder)


def ls(exp: Exp, *words: str) -> list[dict[str, Any]]:
    """`ls --json`."""
    code, out, _ = exp("ls", "--json", *words)
    assert code == 0
    return list(json.loads(out))


def test_ls_json_has_every_key_of_the_contract(exp: Exp, folder: Path) -> None:
    rows = ls(exp)
    assert [row["name"] for row in rows] == ["other", "base", "base", "base"]
    keys = "id path name status started ended seconds why expect verdict tags parent primary_metric value metrics changes"
    assert {*keys.split(), "config_digest", "code_digest"} <= set(rows[0])
    assert rows[2]["changes"] == {"SOLVER.BASE_LR": [0.1, 0.01]}
    assert rows[2]["value"] == 0.95 and rows[2]["path"] == str(folder / rows[2]["id"])
    assert rows[2]["metrics"]["val/top1"] == {"last": 0.95, "best": 0.95, "best_step": 3}


def test_ls_shows_what_differs_from_the_parent_at_every_width(exp: Exp, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (80, 160):
        monkeypatch.setenv("COLUMNS", str(width))
        _, out, _ = exp("ls")
        assert "BASE_LR 0.1→0.01" in out and "smoothing" in out and "MODEL.NAME" not in out
        assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("SOLVER.BASE_LR<0.1", 1),
        ("BASE_LR>=0.1", 3),
        ("status=finished", 3),
        ("status!=finished", 1),
        ("why~SMOOTHING", 1),
        ("started>2026-11-01T02:30", 2),
        ("val/top1>0.85", 2),
        ("val/loss<1", 1),
        ("tags=wide", 1),
        ("MODEL.NAME=mlp", 4),
        ("git.branch=main", 4),
    ],
)
def test_where_asks_config_keys_metrics_and_fields(exp: Exp, condition: str, count: int) -> None:
    assert len(ls(exp, "--where", condition)) == count


@pytest.mark.parametrize("condition", ["SOLVER.BASE_L<1", "nonsense", "val/top9>1", "", "SOLVER.BASE_LR<abc", "started>monday"])
def test_a_condition_that_fits_nothing_is_one_line_and_exit_code_2(exp: Exp, condition: str) -> None:
    code, out, err = exp("ls", "--where", condition)
    assert code == 2 and out == "" and err.count("\n") == 1 and "usage" not in err


def test_what_a_run_lacks_fulfils_only_the_negations() -> None:
    assert not holds(Condition("k", "=", "1"), None) and holds(Condition("k", "!=", "1"), None)
    assert holds(parse("k!~abc"), None) and not holds(parse("k<1"), None)
    with pytest.raises(UserError, match="KEY OP VALUE"):
        parse("k")


def test_sorting_by_a_metric_puts_the_best_first_and_a_loss_upwards(exp: Exp, folder: Path) -> None:
    assert [row["value"] for row in ls(exp, "--sort", "val/top1")] == [0.95, 0.9, 0.8, 0.7]
    make_run(folder, "low", 9, scores={"val/loss": 0.1})
    assert [row["metrics"]["val/loss"]["best"] for row in ls(exp, "--sort", "val/loss")[:2]] == [0.1, 0.5]
    assert ls(exp, "--sort", "val/top1", "--limit", "1", "--reverse")[0]["name"] == "low"


def test_a_table_may_have_no_row(exp: Exp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words in (("ls", "--limit", "0"), ("best", "val/top1", "--limit", "0")):
        assert exp(*words)[0] == 0


def test_open_lists_questions_without_a_verdict(exp: Exp) -> None:
    assert len(ls(exp, "--open")) == 2
    assert exp("verdict", "02-00-00", "it", "helps")[0] == 0
    assert [row["why"] for row in ls(exp, "--open")] == ["baseline"]
    assert ls(exp, "--where", "verdict~helps")[0]["verdict"] == "it helps"


def test_notes_edited_by_hand_are_seen(exp: Exp, folder: Path) -> None:
    ls(exp)
    notes = folder / "base_2026-11-01_01-00-00" / "notes.md"
    notes.write_text("# Why\nnew\nlines — ünïcode\n# Verdict\nso so\n# Tags\none, two\n# Own heading\nkept\n")
    row = ls(exp)[-1]
    assert (row["why"], row["tags"]) == ("new\nlines — ünïcode", ["one", "two"])
    assert "new lines — ünïcode" in exp("ls")[1]


def test_answers_are_the_same_without_an_index(exp: Exp, folder: Path) -> None:
    first = ls(exp)
    file = folder / ".index" / "index.sqlite"
    assert file.is_file()
    for content in (b"no database" * 1000, file.read_bytes()[:5000], b""):
        file.write_bytes(content)
        assert ls(exp) == first
    shutil.rmtree(file.parent)
    assert ls(exp) == first
    shutil.rmtree(file.parent)
    file.parent.write_text("in the way")
    assert ls(exp) == first


def test_configs_edited_by_hand_are_seen_through_the_index(exp: Exp, folder: Path) -> None:
    for number in range(30):
        make_run(folder, f"more{number}", number)
    ls(exp, "--where", "SOLVER.BASE_LR=0.7")
    config = folder / "more3_2026-11-01_03-00-00" / "config.yml"
    config.write_text(config.read_text().replace("BASE_LR: 0.1", "BASE_LR: 0.7"))
    assert [row["name"] for row in ls(exp, "--where", "SOLVER.BASE_LR=0.7")] == ["more3"]


def test_an_index_written_anew_keeps_the_runs_that_did_not_change(
    exp: Exp, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ls(exp)
    monkeypatch.setattr(index, "MANY", 1)
    for path in sorted(folder.glob("*_*"))[:2]:
        os.utime(path / "notes.md", (1, 1))
    assert ls(exp) == before
    assert ls(exp) == before


@pytest.mark.parametrize("trouble", ["database or disk is full", "attempt to write a readonly database"])
def test_an_index_that_cannot_be_written_changes_no_answer(
    exp: Exp, folder: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    first = ls(exp)
    make_run(folder, "new", 8)
    real = sqlite3.connect

    def refuse(path: Any, **words: Any) -> sqlite3.Connection:
        if "mode=ro" in str(path):
            return real(path, **words)
        raise sqlite3.OperationalError(trouble)

    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert ls(exp)[1:] == first
    shutil.rmtree(folder / ".index")
    assert ls(exp)[1:] == first


def test_a_verdict_is_seen_however_slow_the_disk(exp: Exp, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ls(exp)
    monkeypatch.setattr(index, "PATIENCE", -1.0)
    assert exp("verdict", "base_2026-11-01_01", "it works")[0] == 0
    code, out, err = exp("ls", "--json")
    assert json.loads(out)[-1]["verdict"] == "it works" and "reindex" in err


def test_a_locked_index_makes_nobody_wait_long(exp: Exp, folder: Path) -> None:
    ls(exp)
    make_run(folder, "new", 8)
    base = sqlite3.connect(folder / ".index" / "index.sqlite", isolation_level=None)
    base.execute("BEGIN EXCLUSIVE")
    assert len(ls(exp)) == 5
    base.execute("ROLLBACK")
    base.close()


def test_the_index_is_not_read_past_what_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(folder)
    read: list[str] = []
    real = index.summarize

    def noted(path: Path) -> dict[str, Any]:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(index, "summarize", noted)
    load(folder)
    assert read == []
    edit(folder / "other_2026-11-01_04-00-00" / "status.json", status="finished")
    assert load(folder).rows[-1]["status"] == "finished" and read == ["other_2026-11-01_04-00-00"]


def test_readers_and_rebuilds_at_once_lose_nothing(folder: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(make_run, folder, f"n{i}", i) for i in range(12)]
        seen = [pool.submit(load, folder, i % 2 == 0) for i in range(12)]
        assert all(len(future.result().rows) >= 4 for future in seen) and all(future.result() for future in made)
    assert len(load(folder).rows) == 16


def test_broken_records_are_named_and_the_rest_still_lists(exp: Exp, folder: Path) -> None:
    ls(exp)
    torn, odd = folder / "base_2026-11-01_02-00-00", folder / "base_2026-11-01_03-00-00"
    (torn / "run.json").write_text('{"id": ')
    edit(odd / "status.json", metrics={"val/top1": 3}, sessions="none")
    edit(folder / "other_2026-11-01_04-00-00" / "run.json", schema=99)
    (folder / "half").mkdir()
    (folder / "half" / "status.json").write_text("{}")
    (folder / "no-run").mkdir()
    (folder / ".starting-x").mkdir()
    code, out, err = exp("ls", "--json")
    rows = {row["id"]: row for row in json.loads(out)}
    assert code == 0 and len(rows) == 5 and "no-run" not in rows
    assert "run.json" in rows[torn.name]["problems"][0] and len(rows[odd.name]["problems"]) == 2
    assert rows["half"]["status"] == "broken"
    assert "newer" in rows["other_2026-11-01_04-00-00"]["problems"][0]
    assert err.count("WARNING") >= 4 and str(torn / "run.json") in err


def test_a_run_whose_heartbeat_stopped_is_lost(exp: Exp, folder: Path) -> None:
    path = make_run(folder, "dead", 7, status="running")
    assert ls(exp)[0]["status"] == "running"
    os.utime(path / "status.json", (0, 0))
    assert ls(exp, "--where", "status=lost")[0]["id"] == path.name


def test_show_tells_reason_origins_code_and_proposed_verdict(exp: Exp, folder: Path) -> None:
    make_run(
        folder, "claim", 6, scores={"val/top1": 0.97}, config={"SOLVER.BASE_LR": 0.2}, code={"new.py": "a\nb\n"},
        parent="base_2026-11-01_01-00-00", expect="val/top1 > parent + 0.005", why="bigger steps",
    )  # fmt: skip
    code, out, _ = exp("show", "claim")
    assert code == 0 and "bigger steps" in out and "SOLVER.BASE_LR: 0.1 (default) → 0.2 (default)" in out
    assert "new.py +2 -0" in out and "held: val/top1 0.97" in out
    content = json.loads(exp("show", "claim", "--json")[1])
    assert content["code"]["added"] == ["new.py"] and content["proposed_verdict"].startswith("held")


@pytest.mark.parametrize(
    ("text", "number"), [("last", 4), ("last~2", 2), ("base", 3), ("02-00", 2), ("best:val/top1", 2), ("base^", 1)]
)
def test_every_way_to_name_a_run(exp: Exp, text: str, number: int) -> None:
    assert json.loads(exp("show", text, "--json")[1])["id"].endswith(f"_{number:02d}-00-00")


@pytest.mark.parametrize("text", ["nosuch", "2026", "last~9", "best:val/x", "other^"])
def test_a_run_that_is_not_there_or_ambiguous_is_exit_code_2(exp: Exp, text: str) -> None:
    code, out, err = exp("show", text)
    assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1


def test_diff_names_config_code_environment_and_metrics(exp: Exp, folder: Path) -> None:
    edit(folder / "base_2026-11-01_03-00-00" / "run.json", environment={"python": "3.12", "packages": {"torch": "2.7"}})
    found = json.loads(exp("diff", "01-00-00", "03-00-00", "--json")[1])
    assert found["code"] == {"added": [], "removed": [], "changed": ["modeling/net.py"]} and found["config"] == {}
    assert found["environment"] == {"python": ["3.11.7", "3.12"], "torch": ["2.6", "2.7"]}
    assert found["metrics"]["val/top1"] == [0.9, 0.8] and found["metrics"]["val/loss"] == [0.5, None]
    out = exp("diff", "03-00-00")[1]
    assert "+WIDTH = 9" in out and "-WIDTH = 8" in out
    assert json.loads(exp("diff", "02-00-00", "--json")[1])["config"] == {"SOLVER.BASE_LR": [0.01, 0.1]}


def test_keys_that_an_older_run_lacks_count_only_when_they_were_set(exp: Exp, folder: Path) -> None:
    path = make_run(folder, "newer", 9, config={"NEW.A": 1, "NEW.B": 2}, parent="base_2026-11-01_01-00-00")
    edit(path / "run.json", origins={"NEW.A": "default", "NEW.B": "command line"})
    assert ls(exp)[0]["changes"] == {"NEW.B": [None, 2]}
    assert json.loads(exp("diff", "newer", "--json")[1])["config"] == {"NEW.B": [2, None]}


def test_diff_against_the_working_tree_compares_code_and_packages(exp: Exp) -> None:
    code, out, _ = exp("diff", "last", ".", "--json")
    found = json.loads(out)
    assert code == 0 and "modeling/net.py" in found["code"]["removed"]
    assert found["environment"]["torch"][0] == "2.6" and found["environment"]["yacs"][0] is None


def test_best_ranks_and_export_reads_back(exp: Exp) -> None:
    assert [row["place"] for row in json.loads(exp("best", "val/top1", "--json")[1])] == [1, 2, 3, 4]
    assert exp("best", "val/top2")[0] == 2
    rows = list(csv.DictReader(io.StringIO(exp("export")[1])))
    assert len(rows) == 4 and rows[0]["val/top1"] == "0.9" and rows[1]["SOLVER.BASE_LR"] == "0.01"
    curves = json.loads(exp("export", "--curves", "--json")[1])
    assert len(curves) == 12 and curves[0]["metric"] == "train/loss"


def test_odd_reasons_and_long_curves_are_shown_whole(exp: Exp, folder: Path) -> None:
    path = make_run(folder, "long", 9, scores={"val/top1": 0.5}, why='first line\nzweite ✓ \x1b[31mred | "quoted"')
    with open(path / "metrics.jsonl", "a") as file:
        file.writelines(json.dumps({"step": step, "epoch": 0, "train/loss": 1.0}) + "\n" for step in range(3, 50_000))
    code, out, _ = exp("show", "long")
    assert code == 0 and "first line zweite ✓ ?[31mred" in " ".join(out.split()) and "\x1b[31m" not in out
    assert "first line zweite ✓" in exp("ls")[1]
    assert ls(exp)[0]["why"].startswith("first line\nzweite ✓")
    assert len(json.loads(exp("export", "--curves", "--where", "name=long", "--json")[1])) == 50_000


def test_tail_ends_with_the_run(exp: Exp) -> None:
    assert exp("tail", "last", "-n", "1")[1] == "last line\n"
    assert exp("tail", "last", "-n", "0")[1] == ""


def test_mistakes_on_the_command_line_are_one_line(exp: Exp) -> None:
    for words in (["bogus"], ["ls", "--limit", "x"], ["show"], ["diff"], ["ls", "--outputdir", "x"]):
        code, out, err = exp(*words)
        assert code == 2 and out == "" and err.count("\n") == 1 and "usage:" not in err, words


def test_a_folder_of_runs_that_is_not_named_is_never_the_working_directory(tmp_path: Path) -> None:
    done = command("tools/exp.py", "ls", "--output-dir")
    assert done.returncode == 2 and done.stdout == "" and "--output-dir needs" in done.stderr
    assert "no runs in exp" in command(str(ROOT / "tools/exp.py"), "ls", "--output-dir", "", cwd=tmp_path).stdout


def test_listing_imports_no_torch(folder: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tools'); import exp; exp.main(sys.argv[1:]);"
        "assert not {'torch', 'numpy', 'scipy'} & set(sys.modules)"
    )
    words = [sys.executable, "-c", code, "ls", "--output-dir", str(folder)]
    assert subprocess.run(words, cwd=ROOT, stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tools/exp.py re", "restore rerun reindex"),
        ("tools/exp.py ls --so", "--sort"),
        ("tools/exp.py show base_", "base_1"),
        ("tools/train_net.py --config-file conf", "configs"),
        ("tools/train_net.py --wh", "--why"),
        ("tools/train_net.py SOLVER.BASE", "SOLVER.BASE_LR"),
        ("tools/test_net.py base_", "base_1"),
        ("tools/analyze.py lr-", "lr-find"),
        ("tools/replay.py --ano", "--anomaly"),
        ("tools/extract.py --dev", "--device"),
        ("tools/sweep.py --samp", "--sampler"),
        ("tools/predict.py base_", "base_1"),
        ("tools/export.py --t", "--to"),
        ("tools/pack.py --shard", "--shard-size"),
        ("tools/submit.py --cluster lo", "local"),
    ],
)
def test_bash_completes_commands_flags_keys_and_runs(line: str, expected: str, exp: Exp, tmp_path: Path) -> None:
    pytest.importorskip("shtab", reason="the extra `completion` is not installed")
    (tmp_path / "exp" / "base_1").mkdir(parents=True, exist_ok=True)
    (tmp_path / "configs").mkdir()
    code, out, _ = exp("completion", "bash")
    ask = f'COMP_WORDS=(python {line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _fieldbook_python; echo "${{COMPREPLY[*]}}"'
    done = subprocess.run(["bash", "-c", f"{out}\n{ask}"], cwd=tmp_path, capture_output=True, text=True)
    assert code == 0 and set(expected.split()) <= set(done.stdout.split()), done.stderr


@of_the_template
def test_every_tool_is_completed() -> None:
    import _parsers

    tools = {path.name for path in (ROOT / "tools").glob("[a-z]*.py")}
    assert set(_parsers.all_parsers()) == tools
