"""What replaces slow imports gives what they gave: held-out parts, MNIST; and a run comes to its first step without them."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import ROOT

from data.idx_files import read_idx
from data.splits import stratified
from utils.errors import UserError


def random_targets(rng: numpy.random.Generator) -> list[Any]:
    """Classes of very unequal sizes, some of one sample."""
    classes = int(rng.integers(1, 12))
    shares = rng.dirichlet([float(rng.uniform(0.2, 5))] * classes)
    return rng.choice(classes, size=int(rng.integers(4, 300)), p=shares).tolist()


def test_for_many_sets_the_parts_are_equal() -> None:
    from sklearn.model_selection import train_test_split

    rng = numpy.random.default_rng(0)
    stratify = 0
    for seed in range(200):
        targets, fraction = random_targets(rng), float(rng.uniform(0.02, 0.6))
        kept, held = stratified(targets, fraction, seed)
        _, counts = numpy.unique(targets, return_counts=True)
        possible = counts.min() >= 2 and len(counts) <= min(len(kept), len(held))
        expected = train_test_split(
            range(len(targets)), test_size=len(held), random_state=seed, stratify=targets if possible else None
        )
        assert [kept.tolist(), held.tolist()] == [sorted(part) for part in expected]
        stratify += possible
    assert 50 < stratify < 190  # both ways were tried


def write_idx(path: Path, array: numpy.ndarray) -> None:
    """An IDX file, packed where the name says so."""
    head = bytes([0, 0, 8, array.ndim]) + numpy.asarray(array.shape, ">u4").tobytes()
    content = head + array.astype(numpy.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_read_as_torchvision_reads_it(tmp_path: Path, suffix: str) -> None:
    import torchvision

    from data.datasets.torchvision_sets import mnist

    rng = numpy.random.default_rng(1)
    raw = tmp_path / "MNIST" / "raw"
    arrays = {"images-idx3-ubyte": rng.integers(0, 256, (20, 28, 28)), "labels-idx1-ubyte": rng.integers(0, 10, 20)}
    for part in ("train", "t10k"):
        for name, array in arrays.items():
            write_idx(raw / f"{part}-{name}", array)
    theirs = torchvision.datasets.MNIST(str(tmp_path), train=True)
    for name, array in arrays.items():
        (raw / f"train-{name}").unlink()
        write_idx(raw / f"train-{name}{suffix}", array)
    ours = mnist(str(tmp_path), True, 0)
    read, targets = ours.arrays()  # type: ignore[misc]
    assert torch.equal(read[:, 0], theirs.data) and torch.equal(targets, theirs.targets)
    assert list(ours.classes) == list(theirs.classes)


def test_a_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(path, numpy.zeros((3, 4, 4)))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="train-images-idx3-ubyte"):
        read_idx(path)


def test_reading_and_splitting_import_neither_library(tmp_path: Path) -> None:
    for part in ("train", "t10k"):
        write_idx(tmp_path / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", numpy.zeros((40, 28, 28)))
        write_idx(tmp_path / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", numpy.arange(40) % 10)
    code = (
        "import sys; import config, data; args = config.parse_arguments(['DATASETS.ROOT', sys.argv[1]]);"
        "data.build_splits(config.load(args)); print({'sklearn', 'torchvision', 'torch._dynamo'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_run_takes_its_first_step_without_the_slow_imports(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path[:0] = ['tools', sys.argv[1]]; import train_net;"
        "from engine.hooks import HOOKS, Hook\n"
        "class Look(Hook):\n"
        "    def after_step(self, trainer):\n"
        "        print({'sklearn', 'torchvision', 'torch._dynamo', 'sympy', 'matplotlib'} & set(sys.modules))\n"
        "HOOKS.register('look')(lambda **_: Look())\n"
        "train_net.main(sys.argv[2:])"
    )
    words = ["DATASETS.TRAIN", "synthetic", "MODEL.DEVICE", "cpu", "SOLVER.MAX_STEPS", "1", "HOOKS", "('look',)"]
    words += ["MODEL.NAME", "softmax", "--output-dir", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, str(ROOT), *words], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
