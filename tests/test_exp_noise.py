"""exp.py groups, blame and claims: is it more than noise?"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exp_records import Exp, edit, make_run, run_exp

from tracking.judging import claim
from tracking.judging.noise import difference, spread, t_quantile
from tracking.reading.index import load

GOOD, BAD = [0.90, 0.91, 0.905, 0.895, 0.90], [0.85, 0.86, 0.855, 0.845, 0.85]


@pytest.fixture
def exp(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exp:
    """The tool on an empty folder of runs."""
    (tmp_path / "exp").mkdir()
    return run_exp(capsys, monkeypatch, tmp_path / "exp")


def seeds(
    folder: Path, name: str, values: list[float], number: int, parent: str = "", rate: float = 0.1, **more: object
) -> str:
    """A run for each value, with seeds 0, 1, ...; the last one's id."""
    path = folder
    for seed, value in enumerate(values):
        config = {"SEED": seed, "SOLVER.BASE_LR": rate}
        path = make_run(folder, name, number + seed, scores={"val/top1": value}, config=config, parent=parent, **more)  # type: ignore[arg-type]
    return path.name


def test_t_quantiles_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 1.5, 2, 3.7, 4, 10, 31.4, 200, 1e4):
        for p in (0.5, 0.75, 0.975, 0.995, 0.9999):
            assert t_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-9, abs=1e-12)


@settings(deadline=None)  # the first example loads what it compares with
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8), st.lists(st.floats(-10, 10), min_size=2, max_size=8))
def test_intervals_are_those_of_scipy(a: list[float], b: list[float]) -> None:
    stats = pytest.importorskip("scipy.stats")
    if statistics.pvariance(a) < 1e-6 or statistics.pvariance(b) < 1e-6:
        return
    gap = difference(spread(a), spread(b))
    wanted = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert gap.interval == pytest.approx((wanted.low, wanted.high), rel=1e-6, abs=1e-9)
    one = spread(a)
    assert one.std == pytest.approx(statistics.stdev(a))
    half = stats.t.ppf(0.975, len(a) - 1) * statistics.stdev(a) / len(a) ** 0.5
    assert one.interval == pytest.approx((one.mean - half, one.mean + half), rel=1e-9, abs=1e-9)


def test_repeats_are_pooled_and_compared_with_the_parents(exp: Exp, tmp_path: Path) -> None:
    base = seeds(tmp_path / "exp", "base", GOOD, 0)
    seeds(tmp_path / "exp", "worse", BAD, 10, parent=base, rate=0.5)
    best, worse = json.loads(exp("groups", "--json")[1])
    assert (best["n"], best["name"], best["against"]) == (5, "base", None)
    assert best["mean"] == pytest.approx(0.902) and best["std"] == pytest.approx(statistics.stdev(GOOD))
    assert worse["against"] == base and worse["difference"] == pytest.approx(-0.05)
    assert worse["verdict"] == "worse, more than noise" and best["seeds"] == [0, 1, 2, 3, 4]
    assert "worse, more than noise" in exp("groups")[1]
    assert json.loads(exp("groups", "--against", "worse", "--json")[1])[0]["verdict"] == "better, more than noise"


def test_other_code_or_config_is_another_group(exp: Exp, tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    seeds(folder, "base", GOOD[:2], 0)
    seeds(folder, "base", GOOD[:2], 5, code={"modeling/net.py": "other"})
    seeds(folder, "base", GOOD[:2], 9, rate=0.2)
    groups = json.loads(exp("groups", "--json")[1])
    assert [group["n"] for group in groups] == [2, 2, 2]
    assert sorted(len(group["same_config"]) for group in groups) == [0, 1, 1] and "but other code" in exp("groups")[1]


def test_scores_on_other_data_are_told_apart_and_not_subtracted(exp: Exp, tmp_path: Path) -> None:
    for start, name, values in ((0, "digits", GOOD[:2]), (5, "leaves", BAD[:2])):
        data = {split: {"name": name, "digest": f"{name} {split}"} for split in ("train", "val")}
        for seed, value in enumerate(values):
            config = {"SEED": seed, "DATASETS.TRAIN": name}
            make_run(tmp_path / "exp", name, start + seed, scores={"val/top1": value}, config=config, data=data)
    assert [group["data"] for group in json.loads(exp("groups", "--json")[1])] == ["digits", "leaves"]
    assert "on leaves" in exp("groups")[1] and "on leaves" not in exp("groups", "--where", "name=digits")[1]
    leaves = json.loads(exp("groups", "--against", "digits", "--json")[1])[1]
    assert (leaves["difference"], leaves["difference_interval"]) == (None, None)
    assert leaves["verdict"] == "cannot tell: val/top1 is on other data (digits)"
    assert "cannot tell: val/top1 is on other data" in exp("groups", "--against", "digits")[1]


def test_samples_that_changed_under_one_name_are_told(exp: Exp, tmp_path: Path) -> None:
    for number, (name, digest) in enumerate([("same", "a"), ("same", "a"), ("new", "a"), ("new", "b"), ("other", "c")]):
        config = {"SEED": number, "SOLVER.BASE_LR": {"same": 0.1, "new": 0.2, "other": 0.3}[name]}
        data = {split: {"name": "leaves", "digest": digest} for split in ("train", "val")}
        make_run(tmp_path / "exp", name, number, scores={"val/top1": GOOD[number]}, config=config, data=data)
    told = {group["name"]: group for group in json.loads(exp("groups", "--against", "same", "--json")[1])}
    assert {name: group["data_changed"] for name, group in told.items()} == {"same": False, "new": True, "other": False}
    assert told["new"]["difference"] is not None  # one of its runs is on those of "same"
    assert told["other"]["difference"] is None and "on other samples (leaves)" in told["other"]["verdict"]
    assert exp("groups")[1].count("other samples under one name") == 1


def test_runs_on_the_splits_of_a_data_set_are_pooled_across_its_key(exp: Exp, tmp_path: Path) -> None:
    for split, value in enumerate((0.5, 0.6, 0.6)):  # equal by chance: both count
        config = {"DATASETS.TRAIN": f"cuhk03:{split}", "MODEL.NUM_CLASSES": 100 + split}
        make_run(tmp_path / "exp", "cuhk", split, scores={"val/top1": value}, config=config)
    assert [group["n"] for group in json.loads(exp("groups", "--json")[1])] == [1, 1, 1]
    (pooled,) = json.loads(exp("groups", "--json", "--across", "DATASETS.TRAIN")[1])
    assert pooled["n"] == 3 and pooled["mean"] == pytest.approx(1.7 / 3) and pooled["std"] == pytest.approx(0.0577, abs=1e-4)
    code, _, error = exp("groups", "--across", "DATASETS.TRIAN")
    assert code == 2 and "no run has such a config key" in error and "DATASETS.TRAIN" in error


def test_failed_changed_and_repeated_runs_do_not_count(exp: Exp, tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    seeds(folder, "base", GOOD[:3], 0)
    make_run(folder, "base", 4, scores={"val/top1": 0.1}, config={"SEED": 7}, status="failed")
    resumed = make_run(folder, "base", 5, scores={"val/top1": 0.2}, config={"SEED": 8})
    edit(resumed / "status.json", sessions=[{}, {"changes": {"SOLVER.BASE_LR": [0.1, 0.2]}}])
    make_run(folder, "base", 6, scores={"val/top1": GOOD[0]})  # a rerun: the same seed, the very same value
    (group,) = json.loads(exp("groups", "--json")[1])
    assert group["n"] == 3 and len(group["runs"]) == 4


def test_a_run_that_was_resumed_with_a_mirror_counts_as_before(exp: Exp, tmp_path: Path) -> None:
    seeds(tmp_path / "exp", "base", GOOD[:2], 0)
    resumed = make_run(tmp_path / "exp", "base", 5, scores={"val/top1": GOOD[2]}, config={"SEED": 8, "SOLVER.BASE_LR": 0.1})
    edit(resumed / "status.json", sessions=[{}, {"changes": {"MIRRORS": [[], ["wandb"]]}}])
    (group,) = json.loads(exp("groups", "--json")[1])
    assert group["n"] == 3


def test_other_code_in_a_later_session_is_not_pooled_but_edited_documents_are(exp: Exp, tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    seeds(folder, "base", GOOD[:4], 0)
    runs = sorted(folder.glob("base_*"))
    edit(runs[0] / "status.json", sessions=[{}, {"code_digest": "other", "changes": {}}])
    edit(runs[1] / "status.json", code_edited={"changed": ["modeling/net.py"]})
    edit(runs[2] / "status.json", code_edited={"changed": ["README.md", "tests/test_x.py"]})
    code, out, err = exp("groups", "--json")
    (group,) = json.loads(out)
    assert group["runs"] == [runs[2].name, runs[3].name]
    assert "resumed with other code" in err and "edited while it ran" in err


def test_repeats_that_do_not_differ_say_nothing_of_the_noise(exp: Exp, tmp_path: Path) -> None:
    base = seeds(tmp_path / "exp", "base", [0.9, 0.9], 0)
    seeds(tmp_path / "exp", "new", [0.901, 0.901], 5, parent=base, rate=0.5)
    first = json.loads(exp("groups", "--json")[1])[0]
    assert first["difference_interval"] is None and "cannot tell" in first["verdict"]


def test_best_counts_the_repeats_that_groups_counts(exp: Exp, tmp_path: Path) -> None:
    seeds(tmp_path / "exp", "base", GOOD[:2], 0)
    make_run(tmp_path / "exp", "base", 4, scores={"val/top1": 0.1}, config={"SEED": 7}, status="failed")
    out = exp("best", "val/top1")[1].splitlines()
    assert [line.split()[4] for line in out[2:5]] == ["2", "2", "1"]


def test_a_single_run_is_not_called_better(exp: Exp, tmp_path: Path) -> None:
    base = seeds(tmp_path / "exp", "base", [0.9], 0)
    seeds(tmp_path / "exp", "new", [0.95], 5, parent=base, rate=0.5)
    first = json.loads(exp("groups", "--json")[1])[0]
    assert first["interval"] is None and first["std"] is None and "cannot tell" in first["verdict"]


@pytest.mark.parametrize(
    ("text", "operator", "number", "relative"),
    [
        ("val/top1 > 0.9", ">", 0.9, False),
        ("val/loss<=1e-3", "<=", 1e-3, False),
        ("val/top1 > parent", ">", 0.0, True),
        ("val/top1 >= parent + 0.005", ">=", 0.005, True),
        ("val/top1 > parent - .01", ">", -0.01, True),
    ],
)
def test_claims_are_understood(text: str, operator: str, number: float, relative: bool) -> None:
    assert claim.parse(text) == claim.Claim(text.split()[0].partition("<")[0], operator, number, relative)


def test_free_text_is_no_claim() -> None:
    assert claim.parse("it should get better") is None and claim.parse("val/top1 > the others") is None


@pytest.mark.parametrize(
    ("values", "held", "words"),
    [
        ([0.95, 0.96, 0.955], True, "more than noise"),
        ([0.85, 0.86, 0.855], False, "more than noise"),
        ([0.91], True, "no more than noise"),
    ],
)
def test_claims_are_judged_by_the_noise_of_the_repeats(tmp_path: Path, values: list[float], held: bool, words: str) -> None:
    base = seeds(tmp_path, "base", GOOD, 0)
    seeds(tmp_path, "new", values, 10, parent=base, rate=0.5, expect="val/top1 > parent + 0.005")
    runs = load(tmp_path)
    result = claim.judge(runs, runs.rows[-1])
    assert result is not None and result["held"] is held and words in result["proposal"]


def test_a_claim_without_its_metric_or_parent_says_so(tmp_path: Path) -> None:
    make_run(tmp_path, scores={"val/top1": 0.5}, expect="val/top5 > 0.9")
    make_run(tmp_path, "orphan", 2, scores={"val/top1": 0.5}, expect="val/top1 > parent", parent="gone")
    runs = load(tmp_path)
    proposals = [(claim.judge(runs, row) or {})["proposal"] for row in runs.rows]
    assert proposals == ["cannot tell: the run (finished) has no val/top5", "cannot tell: there is no parent to compare with"]


def test_a_claim_on_the_parent_looks_past_repeats_of_the_run_itself(tmp_path: Path) -> None:
    base = seeds(tmp_path, "base", GOOD, 0)
    first = make_run(tmp_path, "new", 10, scores={"val/top1": 0.95}, config={"SOLVER.BASE_LR": 0.5}, parent=base)
    make_run(
        tmp_path, "new", 11, scores={"val/top1": 0.96}, config={"SOLVER.BASE_LR": 0.5, "SEED": 1}, parent=first.name,
        expect="val/top1 > parent + 0.005",
    )  # fmt: skip
    runs = load(tmp_path)
    result = claim.judge(runs, runs.rows[-1])
    assert result is not None and result["held"] is True
    assert result["value"] == pytest.approx(0.955) and result["target"] == pytest.approx(statistics.mean(GOOD) + 0.005)


def test_blame_names_the_ancestor_its_keys_and_files(exp: Exp, tmp_path: Path) -> None:
    folder = tmp_path / "exp"
    base = seeds(folder, "base", GOOD, 0)
    guilty = make_run(
        folder, "step", 10, scores={"val/top1": 0.70}, config={"SOLVER.BASE_LR": 0.5}, code={"a.py": "x"}, parent=base
    )
    last = make_run(
        folder, "leaf", 11, scores={"val/top1": 0.701}, config={"SOLVER.BASE_LR": 0.5}, code={"a.py": "y"}, parent=guilty.name
    )
    result = json.loads(exp("blame", "val/top1", last.name, "--json")[1])
    assert result["culprit"] == guilty.name and [step["moved"] for step in result["steps"]] == [True, False]
    assert result["steps"][0]["config"]["SOLVER.BASE_LR"] == [0.1, 0.5] and result["steps"][0]["code"]["added"] == ["a.py"]
    out = exp("blame", "val/top1", "leaf")[1]
    assert "BASE_LR 0.1→0.5; +a.py" in out.replace("\n", " ")
    assert exp("blame", "val/x", "leaf")[0] == 2


def test_blame_without_repeats_says_that_it_cannot_tell(exp: Exp, tmp_path: Path) -> None:
    first = make_run(tmp_path / "exp", number=1, scores={"val/top1": 0.9})
    make_run(tmp_path / "exp", number=2, scores={"val/top1": 0.5}, config={"SOLVER.BASE_LR": 1.0}, parent=first.name)
    result = json.loads(exp("blame", "val/top1", "last", "--json")[1])
    assert result["culprit"] is None and "cannot tell" in result["words"]
