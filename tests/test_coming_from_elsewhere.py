"""What docs/from/ says of other projects' files and of our keys is so."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch import nn

from config.defaults import get_defaults
from modeling.weights import load_state_file, load_weights
from utils.errors import UserError

PAGES = sorted((ROOT / "docs" / "from").glob("*.md"))
SECTIONS = {key.partition(".")[0] for key in get_defaults().flat() if "." in key}


class Harmless:
    """Stands for any class in a file."""


def test_a_checkpoint_of_timms_script_loads_as_it_is(tmp_path: Path) -> None:
    """Beside the weights it holds the flags, an argparse.Namespace."""
    model = nn.Linear(3, 2)
    flags = argparse.Namespace(model="resnet18", lr=0.05, decay_milestones=[30, 60])
    saved = {"epoch": 3, "arch": "resnet18", "args": flags, "state_dict": model.state_dict(), "metric": 0.7}
    torch.save(saved, tmp_path / "model_best.pth.tar")
    twin = nn.Linear(3, 2)
    report = load_weights(twin, load_state_file(tmp_path / "model_best.pth.tar"))
    assert len(report.matched) == 2 and torch.equal(twin.weight, model.weight)


def test_other_classes_in_a_file_are_not_made(tmp_path: Path) -> None:
    torch.save({"args": Harmless(), "state_dict": nn.Linear(3, 2).state_dict()}, tmp_path / "model.pth.tar")
    with pytest.raises(UserError, match="no weights that can be read safely"):
        load_state_file(tmp_path / "model.pth.tar")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_name_keys_that_exist(page: Path) -> None:
    """The last column of each table is ours; in the first, their keys may bear our names."""
    known = get_defaults().flat()
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    ours = " ".join(row.rstrip(" |").rpartition(" | ")[2] for row in rows)
    named = [name for name in re.findall(r"\b([A-Z]+\.[A-Z_]+)\b", ours) if name.partition(".")[0] in SECTIONS]
    assert len(named) > 5 and not [name for name in named if name not in known]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_name_files_that_exist(page: Path) -> None:
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    ours = " ".join(row.rstrip(" |").rpartition(" | ")[2] for row in rows)
    for name in re.findall(r"`((?:configs|data|engine|modeling|layers|solver|tools|utils)/[\w/.]*)", ours):
        assert (ROOT / name).exists(), name
