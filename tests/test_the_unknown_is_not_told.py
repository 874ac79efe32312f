"""Where records lack something, readers say so and tell no difference that nobody knows of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_exp_records import Exp, edit, make_run, run_exp


@pytest.fixture
def exp(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exp:
    """The tool on tmp_path/exp."""
    return run_exp(capsys, monkeypatch, tmp_path / "exp")


def test_a_page_without_rows_counts_the_runs(exp: Exp, tmp_path: Path) -> None:
    make_run(tmp_path / "exp")
    code, out, _ = exp("ls", "--limit", "0")
    assert code == 0 and "0 of 1 runs" in out


def test_a_metric_that_was_never_a_number_is_a_metric_of_no_run(exp: Exp, tmp_path: Path) -> None:
    path = make_run(tmp_path / "exp", scores={"val/top1": 0.3})
    edit(path / "status.json", metrics={"val/top1": {"last": 0.3, "best": 0.3}, "val/loss": {"last": None, "best": None}})
    for words in (["best", "val/loss"], ["show", "best:val/loss"], ["blame", "val/loss", "last"]):
        code, out, err = exp(*words)
        assert code == 2 and out == "" and err.count("val/loss") == 1, words  # it is not offered in the same breath


def test_data_that_nobody_knows_differ_from_none(exp: Exp, tmp_path: Path) -> None:
    make_run(tmp_path / "exp", number=1, scores={"val/top1": 0.9}, data={"val": {"name": "digits"}})
    (make_run(tmp_path / "exp", number=2, scores={"val/top1": 0.8}) / "run.json").unlink()
    code, out, err = exp("best", "val/top1", "--json")
    assert code == 0 and len(json.loads(out)) == 2 and "different data" not in err


def test_a_run_whose_facts_are_gone_is_not_called_resumed(exp: Exp, tmp_path: Path) -> None:
    path = make_run(tmp_path / "exp", scores={"val/top1": 0.9})
    edit(path / "status.json", sessions=[{"code_digest": "c0de", "changes": {}}])
    (path / "run.json").unlink()
    assert "its config or code is unknown" in exp("groups")[2]


def test_a_config_that_is_gone_differs_in_nothing(exp: Exp, tmp_path: Path) -> None:
    make_run(tmp_path / "exp", number=1)
    (make_run(tmp_path / "exp", number=2) / "config.yml").unlink()
    code, out, err = exp("diff", "last~1", "last", "--json")
    assert code == 0 and json.loads(out)["config"] == {} and "config.yml cannot be read" in err
