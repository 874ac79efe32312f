"""Whatever bytes a checkpoint or a config is made of: a documented error, in time, and nothing in them runs.

Random configs and command lines are in test_config.py.
"""

from __future__ import annotations

import pickle
import random
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import config
from engine.checkpoint import load_checkpoint
from utils.errors import NoUsableCheckpoint, UserError


def small(path: Path) -> bytes:
    """A checkpoint like ours, and its bytes."""
    model = torch.nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    content: dict[str, Any] = {"schema": 1, "progress": {"step": 3}, "model": model.state_dict()}
    content |= {"optimizer": optimizer.state_dict(), "meta": {"run": "x"}, "generators": [torch.get_rng_state()]}
    torch.save(content, path)
    return path.read_bytes()


def mutated(content: bytes, rng: random.Random) -> bytes:
    """One of: flipped bits, a random block, a piece cut out, doubled or swapped, the end cut off."""
    data, size = bytearray(content), len(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        kind, at = rng.randrange(6), rng.randrange(max(len(data), 1))
        length = rng.choice((1, 4, 64, size // 4))
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            del data[at:]
        else:
            data[at : at + length] = bytes(length)
    return bytes(data)


def inside(path: Path, rng: random.Random) -> bytes:
    """A whole zip of which the pickle was changed: what a checksum of the archive cannot notice."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    key = next(name for name in parts if name.endswith("data.pkl"))
    parts[key] = mutated(parts[key], rng)
    target = path.with_suffix(".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return target.read_bytes()


def fuzz(count: int, folder: Path, seed: int) -> int:
    """Every outcome is a dict or NoUsableCheckpoint, within 5 s; how many were refused."""
    rng = random.Random(seed)
    content = small(folder / "good.pt")
    path, refused = folder / "fuzz.pt", 0
    for number in range(count):
        path.write_bytes(inside(folder / "good.pt", rng) if number % 2 else mutated(content, rng))
        start = time.process_time()
        try:
            assert isinstance(load_checkpoint(path), dict)
        except NoUsableCheckpoint as error:
            assert str(error) and "\n" not in str(error)
            refused += 1
        assert time.process_time() - start < 5, (seed, number)
    return refused


def test_a_mutated_checkpoint_is_read_or_refused(tmp_path: Path) -> None:
    assert fuzz(150, tmp_path, seed=1) > 0


@pytest.mark.slow
def test_a_thousand_mutated_checkpoints_are_read_or_refused(tmp_path: Path) -> None:
    assert fuzz(1000, tmp_path, seed=2) > 0


@pytest.mark.parametrize("content", [3, [1, 2], "text", None, {"schema": "new"}, {"schema": 10**9}, {1: 2, "schema": None}])
def test_what_is_no_checkpoint_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(NoUsableCheckpoint):
        load_checkpoint(tmp_path / "x.pt")


class Evil:
    """Pickled, it is an order to run a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("force", ["", "1"])
def test_code_in_a_checkpoint_does_not_run(force: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if force:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", force)
    torch.save({"schema": 1, "model": Evil(tmp_path / "marker")}, tmp_path / "x.pt")
    (tmp_path / "y.pt").write_bytes(pickle.dumps(Evil(tmp_path / "marker")))
    for name in ("x.pt", "y.pt"):
        with pytest.raises(NoUsableCheckpoint):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "marker").exists()


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "expands to more than"),
        ("HOOKS: " + "[" * 30 + "]" * 30, "nested deeper"),
        ("- " * 5000 + "x\n", "nested deeper"),
        ("".join(f"{' ' * n}a:\n" for n in range(500)), "nested deeper"),
        ("# " + "x" * 200_000, "larger than 200000 bytes"),
        ("INPUT:\n  SIZE_TRAIN: [1000000000]\n", "x.yml:2: INPUT.SIZE_TRAIN expects at most 16384"),
        ("MODEL:\n  HIDDEN: [100000000000]\n", "x.yml:2: MODEL.HIDDEN expects at most"),
        ("DATALOADER:\n  NUM_WORKERS: 1000000\n", "x.yml:2: DATALOADER.NUM_WORKERS expects"),
        ("_BASE_: [y.yml, y.yml]\n", "more than 100 files"),
    ],
)
def test_absurd_configs_are_one_line_at_once(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_text(text)
    for n in range(120):  # each brings in the next one twice: 2 ** 120 files, if they were read
        name = "y.yml" if n == 0 else f"y{n}.yml"
        (tmp_path / name).write_text(f"_BASE_: [y{n + 1}.yml, y{n + 1}.yml]\n" if n < 90 else "SEED: 1\n")
    start = time.process_time()
    with pytest.raises(UserError) as error:
        config.load_file(tmp_path / "x.yml")
    assert said in str(error.value) and time.process_time() - start < 5


def test_bases_a_hundred_deep_are_refused(tmp_path: Path) -> None:
    for n in range(150):
        (tmp_path / f"{n}.yml").write_text(f"_BASE_: {n + 1}.yml\n" if n < 149 else "SEED: 1\n")
    with pytest.raises(UserError, match="more than 100 files"):
        config.load_file(tmp_path / "0.yml")
    assert config.load_file(tmp_path / "60.yml").SEED == 1
