"""The fault campaign runs, small; what it counts is what it is given, and it fills only the marked part of a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import command

from benchmarks import reliability
from benchmarks.reliability_runs import compare


@pytest.mark.slow
def test_a_small_campaign_loses_no_run_and_no_byte(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- campaign -->\nold\n<!-- /campaign -->\nafter\n")
    sizes = ["--kills", "10", "--resumes", "2", "--corruptions", "12"]
    done = command("benchmarks/reliability.py", *sizes, "--no-peers", "--json", "--page", str(page))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert sum(line["injected"] for line in result["kills"]) == 10 and result["resumes"]["compared"] == 2
    assert sum(line["injected"] for line in result["corruptions"]) == 12
    for line in [*result["kills"], result["resumes"], *result["corruptions"]]:
        assert line["survived"] == line["injected"] and not line["lost"] and not line["differing"], line
    text = page.read_text()
    assert (
        text.startswith("before\n")
        and text.endswith("after\n")
        and "old" not in text
        and "| **corruptions** | 12 | 12 |" in text
    )


def test_a_comparison_counts_bytes_and_passes_over_meta() -> None:
    import torch

    one = {"model": {"w": torch.zeros(3)}, "progress": {"step": 4}, "meta": 1}
    other = {"model": {"w": torch.tensor([0.0, -0.0, 0.0])}, "progress": {"step": 4}, "meta": 2}
    assert compare(one, {**one, "meta": 2}).differing == 0
    assert compare(one, other).differing == 1 and compare(one, other).where == ".model.w"  # the sign is one byte
    assert compare(one, {**one, "ema": 1}).differing and compare(one, {"model": one["model"]}).differing


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks\n")
    with pytest.raises(SystemExit, match="has no lines"):
        reliability.fill(page, "x")
    assert page.read_text() == "no marks\n"
