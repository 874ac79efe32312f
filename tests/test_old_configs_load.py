"""Old YAMLs, runs and command lines load under today's names, with a word on each; what could be misread is one line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import newest

import config
from config import defaults, renamed
from config.renamed import Renamed
from tracking.reading.configs import changes
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
ROWS = (
    Renamed("SOLVER.PEAK_RATE", "SOLVER.BASE_LR", since=2),
    Renamed("TRAINING.RATE", "SOLVER.PEAK_RATE", since=1),  # since 2 under its third name
    Renamed("SOLVER.WARMUP_ITERS", "SOLVER.WARMUP_ITERS", since=2, convert=lambda hundreds: 100 * hundreds),
    Renamed("SOLVER.MOMENTUM", "SOLVER.GAMMA", since=3),  # the name was given to another key since
    Renamed("MODEL.SMOOTH", "LOSS.LABEL_SMOOTHING", convert={"on": 0.1, "off": 0.0}.__getitem__),
    Renamed("MODEL.DEPTH", instead="name it in MODEL.ARGS, such as {depth: 50}"),
)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A table of renamed keys, for a code whose VERSION is 3."""
    monkeypatch.setattr(renamed, "RENAMED", ROWS)
    monkeypatch.setitem(defaults._C, "VERSION", 3)
    renamed._say.cache_clear()
    yield


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The warnings so far."""
    monkeypatch.setattr(logging.getLogger("fieldbook"), "propagate", True)
    renamed._say.cache_clear()
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def load(tmp_path: Path, text: str, *pairs: tuple[str, str], name: str = "old.yml") -> config.Config:
    """The config of a YAML text and KEY VALUE pairs."""
    (tmp_path / name).write_text(text)
    words = [word for pair in pairs for word in pair]
    return config.load(config.parse_arguments(["--config-file", str(tmp_path / name), *words]))


def refusal(*arguments: Any) -> str:
    """What is said of a config that is refused."""
    with pytest.raises(UserError) as error:
        load(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_old_name_is_taken_as_the_new_one_and_warned_of_once(tmp_path: Path, table: None, said: Any) -> None:
    cfg = load(tmp_path, "SEED: 1\nSOLVER:\n  PEAK_RATE: 0.5\n")
    assert cfg.SOLVER.BASE_LR == 0.5 and cfg.origins["SOLVER.BASE_LR"] == f"{tmp_path}/old.yml:3"
    load(tmp_path, "SEED: 1\nSOLVER:\n  PEAK_RATE: 0.5\n")
    assert said() == [f"{tmp_path}/old.yml:3: SOLVER.PEAK_RATE is SOLVER.BASE_LR now and is taken as that; write the new one"]
    assert load(tmp_path, "", ("SOLVER.PEAK_RATE", "0.25")).SOLVER.BASE_LR == 0.25
    assert said()[1:] == ["command line: SOLVER.PEAK_RATE is SOLVER.BASE_LR now and is taken as that; write the new one"]


def test_a_name_may_have_changed_twice_and_its_section_may_be_gone(tmp_path: Path, table: None, said: Any) -> None:
    assert load(tmp_path, "TRAINING: {RATE: 0.5}").SOLVER.BASE_LR == 0.5
    assert "unknown key TRAINING.X" in refusal(tmp_path, "TRAINING: {X: 1}")


def test_what_would_be_misread_goes_by_the_version_of_the_file(tmp_path: Path, table: None, said: Any) -> None:
    text = "SOLVER: {MOMENTUM: 0.5, WARMUP_ITERS: 2}"
    for version, momentum, gamma, warmup in ((1, 0.9, 0.5, 200), (2, 0.9, 0.5, 2), (3, 0.5, 0.1, 2)):
        solver = load(tmp_path, f"VERSION: {version}\n{text}").SOLVER
        assert (momentum, gamma, warmup) == (solver.MOMENTUM, solver.GAMMA, solver.WARMUP_ITERS)
    assert "SOLVER.WARMUP_ITERS 2 is SOLVER.WARMUP_ITERS 200 now" in said()[1]
    assert load(tmp_path, text).SOLVER.MOMENTUM == 0.5  # nobody said that it is old


def test_base_files_have_versions_of_their_own(tmp_path: Path, table: None, said: Any) -> None:
    (tmp_path / "base.yml").write_text("VERSION: 1\nSOLVER: {PEAK_RATE: 0.5, WARMUP_ITERS: 2}\n")
    cfg = load(tmp_path, "_BASE_: base.yml\nVERSION: 3\nSOLVER: {BASE_LR: 0.3}\n")
    assert cfg.SOLVER.BASE_LR == 0.3 and cfg.SOLVER.WARMUP_ITERS == 200 and cfg.VERSION == 3


def test_both_spellings_clash(tmp_path: Path, table: None) -> None:
    text = refusal(tmp_path, "SOLVER:\n  BASE_LR: 0.5\n  PEAK_RATE: 0.5\n")
    assert text == f"{tmp_path}/old.yml:3: SOLVER.BASE_LR and SOLVER.PEAK_RATE are the same key; keep SOLVER.BASE_LR alone"
    text = refusal(tmp_path, "", ("SOLVER.PEAK_RATE", "1"), ("SOLVER.BASE_LR", "1"))
    assert text == "command line: SOLVER.PEAK_RATE and SOLVER.BASE_LR are the same key; keep SOLVER.BASE_LR alone"


def test_a_removed_key_says_what_to_do_instead(tmp_path: Path, table: None, said: Any) -> None:
    text = refusal(tmp_path, "MODEL: {DEPTH: 50}")
    assert text == f"{tmp_path}/old.yml:1: there is no key MODEL.DEPTH; name it in MODEL.ARGS, such as {{depth: 50}}"
    (tmp_path / "config.yml").write_text("MODEL: {DEPTH: 50, GONE: 1}")
    config.load_run(tmp_path / "config.yml")
    assert "does not know MODEL.DEPTH (name it in MODEL.ARGS, such as {depth: 50}), MODEL.GONE; the run's own copy" in said()[0]


@pytest.mark.parametrize("version", ["4", "0", "true", "1.0", "new"])
def test_a_version_that_cannot_be_read_is_one_line(version: str, tmp_path: Path, table: None) -> None:
    text = refusal(tmp_path, f"SEED: 1\nVERSION: {version}\n")
    expected = (
        "written for newer code (VERSION 4, this code has 3); update" if version == "4" else "VERSION expects a whole number"
    )
    assert text.startswith(f"{tmp_path}/old.yml:2: {expected}")


def test_the_version_is_the_codes_own(tmp_path: Path) -> None:
    assert "stands in the YAML" in refusal(tmp_path, "", ("VERSION", "1"))
    assert "VERSION: 1  # default" in config.dump(load(tmp_path, "VERSION: 1"))


def test_a_run_without_a_version_is_of_the_first(tmp_path: Path, table: None, said: Any) -> None:
    (tmp_path / "config.yml").write_text("SOLVER: {PEAK_RATE: 0.5, WARMUP_ITERS: 2, MOMENTUM: 0.25}")
    cfg = config.load_run(tmp_path / "config.yml")
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.GAMMA) == (0.5, 200, 0.25)


def test_a_version_makes_no_other_experiment(tmp_path: Path, said: Any) -> None:
    cfg = config.load_file(None)
    digest = config.digest(cfg)
    later = cfg.clone()
    later.VERSION = 9
    assert config.digest(later) == digest
    without = {key: value for key, value in cfg.flat().items() if key != "VERSION"}
    assert changes(cfg.flat(), without, lambda: ({}, {})) == {}
    (tmp_path / "config.yml").write_text(
        "".join(line + "\n" for line in config.dump(cfg).splitlines() if "VERSION" not in line)
    )
    assert config.digest(config.load_run(tmp_path / "config.yml")) == digest and said() == []


def test_a_value_is_converted_or_has_no_counterpart(tmp_path: Path, table: None, said: Any) -> None:
    assert load(tmp_path, "MODEL: {SMOOTH: 'on'}").LOSS.LABEL_SMOOTHING == 0.1
    assert said()[0].endswith("MODEL.SMOOTH 'on' is LOSS.LABEL_SMOOTHING 0.1 now and is taken as that; write the new one")
    assert "MODEL.SMOOTH 'perhaps' has no counterpart in LOSS.LABEL_SMOOTHING" in refusal(tmp_path, "MODEL: {SMOOTH: perhaps}")


def test_every_row_leads_to_a_key_of_today() -> None:
    known = config.load_file(None).flat()
    names = [row.old for row in (*renamed.OURS, *renamed.RENAMED)]
    ways = {row.old for row in (*renamed.OURS, *renamed.RENAMED) if row.new}
    assert len(names) == len(set(names))
    for row in (*renamed.OURS, *renamed.RENAMED):
        assert row.since <= known["VERSION"] and bool(row.new) != bool(row.instead), row
        assert not row.new or row.new in known or row.new in ways, row


def test_rows_of_a_fork_count_like_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "OURS", (Renamed("SOLVER.MY_LR", "SOLVER.BASE_LR"),))
    assert load(tmp_path, "SOLVER: {MY_LR: 0.5}").SOLVER.BASE_LR == 0.5


def test_training_says_so_and_records_the_new_name(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "RENAMED", (Renamed("DATASETS.SET", "DATASETS.TRAIN"),))
    renamed._say.cache_clear()
    (tmp_path / "old.yml").write_text("DATASETS: {SET: 'synthetic:64x1x8x8x4'}\nMODEL: {NAME: softmax, DEVICE: cpu}\n")
    code, log, _ = train("--config-file", str(tmp_path / "old.yml"), "--epochs", "1", "TEST.FIGURES", "false")
    assert code == 0 and log.count("WARNING") == 1
    run = newest(tmp_path / "exp")
    assert f"WARNING {tmp_path}/old.yml:1: DATASETS.SET is DATASETS.TRAIN now" in (run / "log.txt").read_text()
    assert f'TRAIN: ["synthetic:64x1x8x8x4"]  # {tmp_path}/old.yml:1' in (run / "config.yml").read_text().replace("'", '"')
