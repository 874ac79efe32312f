"""exp.py report and serve: what is in the page is what is in the records, whatever they hold; the server gives nothing else."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from test_exp_records import Exp, edit, make_run, run_exp

from tracking.page.curves import read_curves
from tracking.page.document import LIBRARIES, MARK, SCRIPTS, STYLES
from tracking.page.overview import overview
from tracking.page.run_data import CodeStore, code_key, name_of, run_data
from tracking.page.serve import Source, make_server
from tracking.page.text import as_json, as_url
from tracking.reading.index import load

HOSTILE = "</script><script>alert(1)</script><!-- \u2028 ' \" & \ud800"


def four_runs(out: Path) -> Path:
    """A base, a repeat of it, a child with other config and code, a failed one."""
    base = make_run(out, number=1, scores={"val/top1": 0.9, "val/loss": 0.5}, why="baseline")
    make_run(out, number=2, scores={"val/top1": 0.91}, config={"SEED": 1}, parent=base.name)
    edits = {"modeling/net.py": "WIDTH = 9\n"}
    make_run(out, number=3, scores={"val/top1": 0.8}, config={"SOLVER.BASE_LR": 0.01}, code=edits, parent=base.name)
    make_run(out, "other", 4, status="failed", expect="val/top1 > parent")
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of four runs."""
    return four_runs(tmp_path / "exp")


@pytest.fixture
def exp(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Exp:
    """The tool on these runs."""
    return run_exp(capsys, monkeypatch, folder)


def embedded(page: Path) -> Any:
    """The overview that stands in a page."""
    found = re.search(r'id="overview">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found
    return json.loads(found[1])


def test_the_overview_says_what_the_records_say(folder: Path) -> None:
    runs = load(folder)
    found = overview(runs, runs.rows)
    first, repeat, child, failed = found["runs"]
    assert found["common"]["SOLVER.BASE_LR"] == 0.1 and found["lower"] == ["val/loss"]
    assert first["group"] == repeat["group"] != child["group"] and "group" not in failed
    assert child["changes"] == {"SOLVER.BASE_LR": [0.1, 0.01]} and child["code_changed"] and "code_changed" not in repeat
    assert child["config"]["SOLVER.BASE_LR"] == 0.01 and "SOLVER.BASE_LR" not in first.get("config", {})
    assert first["scores"][found["metrics"].index("val/top1")] == [0.9, 0.9, 3]


def test_what_repeats_a_seed_and_its_score_counts_once(folder: Path) -> None:
    make_run(folder, number=5, scores={"val/top1": 0.91}, config={"SEED": 1})
    make_run(folder, number=6, scores={"val/top1": 0.92}, config={"SEED": 1})
    runs = load(folder)
    found = [run.get("twin") for run in overview(runs, runs.rows)["runs"]]
    assert found == [None, None, None, None, "base_2026-11-01_02-00-00", None]


def test_report_writes_a_page_that_needs_nothing_else_and_writes_again_only_what_changed(exp: Exp, folder: Path) -> None:
    assert exp("report")[0] == 0
    page = folder / ".report" / "index.html"
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
    assert len(embedded(page)["runs"]) == 4 and text.index(MARK) < 200  # seen again, however long the policy
    files = {path: path.stat().st_mtime_ns for path in (folder / ".report" / "data").rglob("*.js")}
    changed = folder / "base_2026-11-01_01-00-00"
    (changed / "metrics.jsonl").write_text('{"step": 1, "epoch": 1, "time": 1.0, "train/loss": 2.0}\n')
    assert exp("report")[0] == 0
    again = {path.name for path, time in files.items() if path.stat().st_mtime_ns != time}
    assert again == {f"{name_of(changed.name)}.js"}
    assert [row["id"] for row in json.loads(exp("ls", "--json")[1])] == [path.name for path in sorted(folder.glob("[bo]*"))][
        ::-1
    ]


def test_report_of_some_runs_holds_those(exp: Exp, folder: Path, tmp_path: Path) -> None:
    code, out, _ = exp("report", "other", "--json", "-o", str(tmp_path / "page"))
    assert code == 0 and json.loads(out)["runs"] == 1
    assert [run["name"] for run in embedded(tmp_path / "page" / "index.html")["runs"]] == ["other"]
    code, out, _ = exp("report", "--where", "SOLVER.BASE_LR<0.1", "--json")
    assert code == 0 and json.loads(out)["runs"] == 1


def test_no_runs_and_half_written_ones_make_a_page(exp: Exp, folder: Path) -> None:
    broken = folder / "base_2026-11-01_01-00-00"
    (broken / "run.json").write_text('{"name": "ba')
    (broken / "config.yml").write_text("a: [")
    edit(folder / "base_2026-11-01_02-00-00" / "run.json", why="x" * 5000, environment={"packages": 7}, data={"train": 3})
    (folder / "other_2026-11-01_04-00-00" / "metrics.jsonl").write_bytes(
        b'{"step": 1, "a": NaN}\n[1]\n{"step": null}\n\xff{"st'
    )
    assert exp("report")[0] == 0
    assert len(embedded(folder / ".report" / "index.html")["runs"]) == 4
    assert exp("report", "--where", "name=nobody")[0] == 0
    assert embedded(folder / ".report" / "index.html")["runs"] == []


def test_wrong_report_input_is_one_line(exp: Exp, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("my own page")
    (tmp_path / "file").write_text("")
    for words in (["-o", str(tmp_path / "site")], ["-o", str(tmp_path / "file")], ["nobody"], ["--where", "what<1"]):
        code, out, err = exp("report", *words)
        assert (code, out) == (2, "") and len(err.splitlines()) == 1, words
    assert (tmp_path / "site" / "index.html").read_text() == "my own page"
    with_server = make_server(folder, 0, lambda runs: runs.rows)
    try:
        for port in (str(with_server.server_address[1]), "99999", "abc"):
            code, out, err = exp("serve", "--port", port)
            assert (code, out) == (2, "") and len(err.splitlines()) == 1, port
    finally:
        with_server.server_close()


def test_what_records_hold_stays_data() -> None:
    text = as_json({"why": HOSTILE, "scale": math.inf, ("a",): {1, 2}} | {HOSTILE: [math.nan]})
    assert not set("<>&") & set(text) and text.isascii()
    assert json.loads(text)["why"] == HOSTILE and json.loads(text)["scale"] == "inf"
    assert as_url("javascript:alert(1)//?#") == "javascript%3Aalert%281%29//%3F%23"


ODDITIES = {
    "deep-rows": ("metrics.jsonl", b"[" * 100_000 + b"\n"),
    "deep-run": ("run.json", b'{"a":' * 100_000),
    "nested-run": ("run.json", b'{"git": ' + b'{"a":' * 700 + b"1" + b"}" * 701),
    "latin-code": ("scripts.sha256", b"\xff\xfe  scripts/\xff\n"),
    "large": ("status.json", b'{"status": "finished", "seconds": 1%s, "metrics": {"a": {"last": 1%s}}}' % ((b"0" * 400,) * 2)),
    "nan": ("status.json", b'{"status": "finished", "seconds": NaN}'),
    "session": ("status.json", b'{"status": "finished", "sessions": [{"code_digest": ["x"]}]}'),
    "surrogate": ("run.json", b'{"name": "\\ud800", "tree_digest": "\\udcff", "seed": {}}'),
    "config": ("config.yml", b"a: " + b"[" * 500),
    "day": ("config.yml", b"a: 2026-99-99\nb: &b [*b]\n"),
    "huge": ("config.yml", b"SOLVER:\n  BASE_LR: 1" + b"0" * 400 + b"\n"),
    "own": ("config.yml", b"b: &b [*b]\n"),
}


def test_one_odd_record_keeps_no_other_from_the_page(exp: Exp, folder: Path) -> None:
    base = "base_2026-11-01_01-00-00"
    for number, (name, (file, content)) in enumerate(ODDITIES.items()):
        made = make_run(folder, name, 5 + number, parent=base)
        (made / file).write_bytes(content)
    (folder / "base_2026-11-01_02-00-00").rename(os.fsdecode(os.fsencode(folder) + b"/\xff_2026-11-01_02-00-00"))
    assert exp("report") == (0, exp("report")[1], "")
    found = {run["id"]: run for run in embedded(folder / ".report" / "index.html")["runs"]}
    assert len(found) == 4 + len(ODDITIES) and found["\udcff_2026-11-01_02-00-00"]["address"] == "%FF_2026-11-01_02-00-00"
    said = {name for name in ODDITIES for run in found.values() if run["id"].startswith(f"{name}_") and run.get("problems")}
    assert said == {"deep-run", "nested-run", "large", "nan", "session"}
    served = Source(folder, lambda runs: runs.rows)
    for run in json.loads(served.news()[0])["runs"]:
        assert served.data("run", run["file"])["curves"] is not None, run["id"]
    for words in (["ls", "--json"], ["groups", "--json"], ["ls", "--where", "SOLVER.BASE_LR<1"], ["export", "--json"]):
        assert exp(*words)[0] == 0, words


def test_what_cannot_be_read_is_a_problem_of_its_run(exp: Exp, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = "base_2026-11-01_01-00-00"

    def fail(path: Path) -> Any:
        if path.name == bad:
            raise TypeError("odd")
        return read_curves(path)

    monkeypatch.setattr("tracking.page.run_data.read_curves", fail)
    assert exp("report")[0] == 0
    runs = embedded(folder / ".report" / "index.html")["runs"]
    assert [run["id"] for run in runs if run.get("problems")] == [bad] and "odd" in runs[0]["problems"][0]


def test_the_code_of_the_newest_session_is_shown(exp: Exp, folder: Path) -> None:
    run = folder / "base_2026-11-01_01-00-00"
    keys = set()
    for number in (1, 2):
        (run / f"scripts.{number}" / "modeling").mkdir(parents=True)
        text = f"WIDTH = {number}00\n"
        (run / f"scripts.{number}" / "modeling" / "net.py").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (run / f"scripts.{number}.sha256").write_text(f"{digest}  scripts.{number}/modeling/net.py\n")
        sessions = [{"code_digest": f"other{n}"} for n in range(number)]
        edit(run / "status.json", sessions=sessions)
        assert exp("report")[0] == 0
        key = embedded(folder / ".report" / "index.html")["runs"][0]["code"]
        assert digest[:16] in (folder / ".report" / "data" / "code" / f"{key}.js").read_text()
        keys.add(key)
    assert len(keys) == 2


def test_code_is_kept_once_and_only_where_it_differs(folder: Path) -> None:
    runs = load(folder)
    store = CodeStore(runs)
    for row in runs.rows:
        store.add(row)
    assert len(store.copies()) == 2
    texts = {store.text(digest) for digest in store.differing()}
    assert texts == {"WIDTH = 8\n", "WIDTH = 9\n"}
    assert "modeling/net.py" in store.files(code_key(runs, runs.rows[0]))


def test_a_list_of_code_leads_nowhere_outside_of_its_copy(exp: Exp, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("SECRET")
    (tmp_path / "keep.js").write_text("")
    run = folder / "base_2026-11-01_01-00-00"
    (run / "scripts" / "way.py").symlink_to(tmp_path / "secret.txt")
    (run / "scripts" / "away").symlink_to(tmp_path)
    names = (
        "../../../secret.txt",
        "/etc/passwd",
        f"/{tmp_path}/secret.txt",
        "a/../../../../secret.txt",
        "way.py",
        "away/secret.txt",
    )
    lines = [f"{number:064x}  scripts/{name}\n" for number, name in enumerate(names)]
    lines += ["../../../../pwn  scripts/x.py\n", "\0  scripts/\0\n", "no line at all\n"]
    with open(run / "scripts.sha256", "ab") as file:
        file.write("".join(lines).encode() + b"1" * 64 + b"  scripts/\xff.py\n")
    other = folder / "other_2026-11-01_04-00-00"
    edit(run / "run.json", tree_digest="other")
    (other / "scripts").rename(tmp_path / "elsewhere")
    (other / "scripts").symlink_to(tmp_path / "elsewhere")
    before = set(tmp_path.rglob("*"))
    assert exp("report")[0] == 0
    page = folder / ".report"
    texts = "".join(path.read_text() for path in page.rglob("*.js"))
    assert "SECRET" not in texts and "etc/passwd" not in texts and "pwn" not in texts and "modeling/net.py" in texts
    made = {path for path in set(tmp_path.rglob("*")) - before if page not in (path, *path.parents)}
    assert {path.relative_to(folder).parts[0] for path in made} <= {".index"}
    known = json.loads((page / "data" / "made.json").read_text())
    known["files"] |= {"../../../keep.js": "", "run/../../index.html": ""}
    (page / "data" / "made.json").write_text(json.dumps(known))
    assert exp("report")[0] == 0 and (tmp_path / "keep.js").exists() and (page / "index.html").exists()


def test_a_run_says_what_lies_in_its_folder(folder: Path) -> None:
    runs = load(folder)
    path = runs.path(runs.rows[0])
    (path / "figures").mkdir()
    (path / "figures" / "a b#<1>.png").write_bytes(b"")
    found = run_data(runs, runs.rows[0])
    assert [name for name, _, _ in found["figures"]] == ["figures/a b#<1>.png"]
    assert found["figures"][0][1] == "figures/a%20b%23%3C1%3E.png"
    assert "log.txt" in [name for name, _, _ in found["files"]] and found["curves"]["train/loss"][1] == [1.0, 0.5, 0.333333]


def test_every_part_of_the_page_is_read_in_one_sitting_and_has_its_licence() -> None:
    from tracking.page.document import HERE

    parts = {*STYLES, *LIBRARIES, *(f"assets/{name}.js" for name in SCRIPTS), "assets/index.html"}
    there = {
        str(path.relative_to(HERE)) for room in ("assets", "vendor") for path in (HERE / room).rglob("*.*s*") if path.is_file()
    }
    assert {name for name in there if name.endswith((".js", ".css"))} == parts - {"assets/index.html"}
    for name in parts:
        text = (HERE / name).read_text(encoding="utf-8")
        assert name.startswith("vendor") or text.count("\n") <= 350, name
        assert "innerHTML" not in text or name.startswith("vendor"), name
    for library in (HERE / "vendor").iterdir():
        assert not library.is_dir() or (library / "LICENSE").stat().st_size > 500
