"""Two gloo ranks under torchrun make one record and the weights of one process; accumulation makes the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, TINY, command, newest, read_json

TOLERANCE = 1e-6  # float32 sums in another order


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The model of last.pt."""
    content: dict[str, Any] = torch.load(run / "weights" / "last.pt", weights_only=True)
    return content["model"]


def launch(folder: Path, *words: str, ranks: int = 1) -> Path:
    """A run in processes of its own."""
    script = ["tools/train_net.py", *TINY, "--output-dir", str(folder), *words]
    if ranks > 1:
        script = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), *script]
    done = command(*script)
    assert done.returncode == 0, done.stderr[-3000:]
    return newest(folder)


@pytest.mark.slow
def test_ranks_and_accumulation_equal_one_process(tmp_path: Path) -> None:
    one = launch(tmp_path / "one")
    two = launch(tmp_path / "two", ranks=2)
    split = launch(tmp_path / "split", "SOLVER.ACCUMULATE", "2")
    assert len([p for p in (tmp_path / "two").iterdir() if not p.name.startswith(".")]) == 1
    assert (two / "log_rank1.txt").is_file() and read_json(two / "run.json")["world_size"] == 2
    for other in (two, split):
        for name, value in weights(one).items():
            assert torch.allclose(value, weights(other)[name], atol=TOLERANCE, rtol=0), (other, name)
        assert read_json(other / "test.json")["metrics"]["test/top1"] == read_json(one / "test.json")["metrics"]["test/top1"]


@pytest.mark.slow
def test_eight_starts_in_one_second_get_eight_folders(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, '.'); from pathlib import Path; import tracking;"
        "facts = tracking.Facts(root=Path('.').resolve(), name='x', config='', config_digest='',"
        "origins={}, seed=0, command=[]);"
        f"run = tracking.start_run(Path({str(tmp_path)!r}), facts); run.finish('finished'); print(run.id)"
    )
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    names = {process.communicate()[0].strip() for process in started}
    assert len(names) == 8 == len(list(tmp_path.iterdir()))
    assert all(read_json(tmp_path / name / "run.json")["id"] == name for name in names)
