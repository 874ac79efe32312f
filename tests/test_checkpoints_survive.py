"""A checkpoint is whole or absent: kills, rotten files, full disks and locked folders cost no run."""

from __future__ import annotations

import builtins
import logging
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, newest

from engine import checkpoint
from engine.checkpoint import CheckpointWriter, load_newest
from engine.manifest import read_manifest
from engine.writing import Save, Saver
from utils.errors import NoUsableCheckpoint
from utils.files import sweep

Train = Callable[..., tuple[int, str, str]]


def write(folder: Path, name: str, step: int) -> None:
    """A small checkpoint of a step."""
    state = {"progress": {"step": step}, "model": torch.full((300,), float(step))}
    CheckpointWriter(folder).write(name, state, step=step)


def step_of(folder: Path) -> int:
    """The step that a resume would go on from; 0 where it would start anew. Its content is checked, too."""
    found = load_newest(folder)
    if found is None:
        return 0
    state = found[1]
    assert (state["model"] == state["progress"]["step"]).all()
    return int(state["progress"]["step"])


def die_at(last: int) -> None:
    """From now on this process kills itself at its `last`-th call that touches a file."""
    calls = [0]

    def deadly(original: Any) -> Any:
        def call(*args: Any, **words: Any) -> Any:
            calls[0] += 1
            if calls[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **words)

        return call

    for module, names in ((os, ("open", "fsync", "replace", "unlink", "close")), (builtins, ("open",)), (torch, ("save",))):
        for name in names:
            setattr(module, name, deadly(getattr(module, name)))
    checkpoint._HashingFile.write = deadly(checkpoint._HashingFile.write)  # type: ignore[method-assign]


def killed_child(folder: Path, call: int, step: int) -> tuple[int, bool]:
    """A fork writes best, epoch and last of a step, as a run does, and dies at a call: its exit status, and whether a
    file that can be resumed from was written before that."""
    told = folder.with_suffix(".told")
    child = os.fork()
    if child == 0:
        die_at(call)
        for name in ("best.pt", f"epoch_{step:04d}.pt", "last.pt"):
            write(folder, name, step)
            if name.startswith("epoch"):
                told.symlink_to("written")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return status, told.is_symlink()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder whose fsync costs nothing, where there is one: a kill does not test it anyway."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.mark.slow
@pytest.mark.parametrize("before", [0, 1])
def test_a_kill_at_any_file_system_call_loses_nothing(before: int, memory: Path) -> None:
    """k = 1, 2, ... until the save is through, in an empty folder and where one lies; now and then the next is killed too."""
    call, status = 0, int(signal.SIGKILL)
    while status:
        call += 1
        folder = memory / str(call)
        folder.mkdir()
        if before:
            write(folder, "last.pt", before)
        status, written = killed_child(folder, call, before + 1)
        lies = step_of(folder)
        assert lies == before + 1 if written else lies in (before, before + 1), call
        if call % 4 == 0:
            killed_child(folder, call // 2, lies + 1)
            assert step_of(folder) in (lies, lies + 1), call
    assert call > 60, call


@pytest.mark.slow
def test_fifty_kills_at_random_moments_in_one_folder_lose_nothing(memory: Path) -> None:
    """A fork saves beside its loop as fast as it can, each going on from where the one before was killed."""
    rng, told = random.Random(0), memory / "told"

    def reported() -> int:
        return int((told.read_text() if told.exists() else "") or 0)

    for kill in range(50):
        lies = step_of(memory)
        child = os.fork()
        if child == 0:
            saver = Saver(CheckpointWriter(memory))
            for step in range(lies + 1, lies + 10_000):
                state = {"progress": {"step": step}, "model": torch.full((300,), float(step))}
                saves = [Save(name, state, step, None) for name in (f"epoch_{step % 3:04d}.pt", "last.pt")]
                saver.settle()
                saver.start(saves, then=partial(told.write_text, str(step)))  # type: ignore[arg-type]
        while kill % 5 == 0 and reported() <= lies:  # however busy the machine is, some come to a save
            time.sleep(0.001)
        time.sleep(rng.uniform(0.005, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert step_of(memory) >= max(lies, reported()), kill
    assert step_of(memory) >= 10


def test_kills_in_a_row_never_orphan_the_file_that_lies_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each rename, then after it: the manifest knows what lies there all the time."""
    write(tmp_path, "last.pt", 1)
    before = os.replace

    def dies(moment: str) -> Callable[[Any, Any], None]:
        def replace(source: Any, target: Any) -> None:
            if Path(target).name == "last.pt":
                if moment == "after":
                    before(source, target)
                raise KeyboardInterrupt
            before(source, target)

        return replace

    for step, moment, lies in ((2, "before", 1), (3, "before", 1), (4, "after", 4), (5, "before", 4), (6, "after", 6)):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dies(moment))
            with pytest.raises(KeyboardInterrupt):
                write(tmp_path, "last.pt", step)
        assert step_of(tmp_path) == lies, (step, moment)
    assert len(read_manifest(tmp_path)["last.pt"]["pending"]) == 5
    write(tmp_path, "last.pt", 7)
    assert set(read_manifest(tmp_path)["last.pt"]) == {"sha256", "step", "metric"}


def test_a_kill_between_epoch_and_last_resumes_from_the_epoch(tmp_path: Path) -> None:
    write(tmp_path, "last.pt", 5)
    write(tmp_path, "epoch_0001.pt", 8)
    assert step_of(tmp_path) == 8
    write(tmp_path, "last.pt", 9)
    assert step_of(tmp_path) == 9


def test_a_run_killed_before_its_first_checkpoint_starts_at_step_0(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was announced but never renamed; and of the next session, only best.pt was."""

    class Killed(BaseException):
        pass

    def die_at(name: str) -> Callable[[Any, Any], None]:
        before = os.replace

        def replace(source: Any, target: Any) -> None:
            if Path(target).name == name:
                raise Killed
            before(source, target)

        return replace

    words: list[str] = [*TINY, "SOLVER.CHECKPOINT_ASYNC", "false"]
    for name in ("best.pt", "epoch_0001.pt"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", die_at(name))
            assert train(*words)[0] == 1
        weights = newest(tmp_path / "exp") / "weights"
        assert name in read_manifest(weights) and not (weights / name).exists()
        words = ["--resume", newest(tmp_path / "exp").name]
    code, log, _ = train(*words)
    assert code == 0 and "no checkpoint was ever written" in log, log
    assert len(list((tmp_path / "exp").glob("tiny*"))) == 1


def flip(content: bytearray, rng: random.Random) -> bytearray:
    """One bit is another."""
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def zero_page(content: bytearray, rng: random.Random) -> bytearray:
    """512 bytes are lost, a bit of which was set."""
    start = rng.choice([i for i in range(0, len(content) - 512, 64) if any(content[i : i + 512])])
    content[start : start + 512] = bytes(512)
    return content


def truncate(content: bytearray, rng: random.Random) -> bytearray:
    """The end is lost."""
    return content[: rng.randrange(1, len(content))]


ROT: dict[str, Callable[[bytearray, random.Random], bytearray]] = {
    "bit flip": flip,
    "zeroed page": zero_page,
    "truncation": truncate,
    "empty": lambda content, rng: bytearray(),
    "all zero": lambda content, rng: bytearray(len(content)),
}


@pytest.mark.parametrize("kind", ROT)
def test_rot_is_found_every_time_and_the_file_before_is_taken(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fieldbook"), "propagate", True)
    write(tmp_path, "epoch_0001.pt", 1)
    write(tmp_path, "last.pt", 2)
    good, rng = (tmp_path / "last.pt").read_bytes(), random.Random(0)
    for _ in range(60):
        (tmp_path / "last.pt").write_bytes(ROT[kind](bytearray(good), rng))
        caplog.clear()
        assert step_of(tmp_path) == 1
        assert "rejected last.pt: " in caplog.text and caplog.records[0].levelname == "WARNING"
    (tmp_path / "epoch_0001.pt").write_bytes(b"")
    with pytest.raises(NoUsableCheckpoint, match=r"tried last\.pt, epoch_0001\.pt") as failure:
        load_newest(tmp_path)
    assert failure.value.exit_code == 3 and (tmp_path / "last.pt").exists() and (tmp_path / "epoch_0001.pt").exists()


@pytest.mark.parametrize("manifest", [None, "", "{", "[1]", '{"last.pt": 3}', '{"last.pt": {"sha256": 5, "step": "x"}}'])
def test_without_a_manifest_the_check_sums_in_the_files_decide(manifest: str | None, tmp_path: Path) -> None:
    write(tmp_path, "epoch_0001.pt", 3)
    write(tmp_path, "last.pt", 2)
    (tmp_path / "manifest.json").unlink()
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert step_of(tmp_path) == 3
    content = bytearray((tmp_path / "epoch_0001.pt").read_bytes())
    content[content.index(torch.full((300,), 3.0).numpy().tobytes()) + 600] ^= 4  # one bit of the weights
    (tmp_path / "epoch_0001.pt").write_bytes(content)
    assert step_of(tmp_path) == 2


def test_an_evil_checkpoint_runs_nothing(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'marker'}",)

    assert train(*TINY)[0] == 0
    run = newest(tmp_path / "exp")
    for path in (run / "weights").iterdir():
        path.unlink()
    torch.save({"progress": {"step": 1}, "model": Evil()}, run / "weights" / "last.pt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    code, log, _ = train("--resume", run.name, "--epochs", "4")
    assert code == 3 and "last.pt" in log and not (tmp_path / "marker").exists(), log


def test_damaged_weights_are_not_tested_and_others_are_named(train: Train, tmp_path: Path) -> None:
    import test_net

    assert train(*TINY)[0] == 0
    run = newest(tmp_path / "exp")
    best = run / "weights" / "best.pt"
    best.write_bytes(flip(bytearray(best.read_bytes()), random.Random(0)))
    code, error, _ = train(str(run), main=test_net.main)
    assert code == 3 and error.count("\n") == 1, error
    assert "best.pt: its content is not what was written" in error
    hint = error.rpartition("TEST.WEIGHT ")[2].strip()
    assert train(str(run), "TEST.WEIGHT", hint, main=test_net.main)[0] == 0


def test_the_order_is_write_sync_announce_rename_sync_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "last.pt", 1)
    seen: list[str] = []

    def spy(module: Any, name: str, label: Callable[..., str]) -> None:
        original = getattr(module, name)

        def call(*args: Any, **words: Any) -> Any:
            seen.append(label(*args))
            return original(*args, **words)

        monkeypatch.setattr(module, name, call)

    def what(descriptor: int) -> str:
        target = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        return "folder" if target == tmp_path else "file"

    opened: list[tuple[str, str]] = []
    plain = builtins.open

    def opening(file: Any, mode: str = "r", *args: Any, **words: Any) -> Any:
        opened.append((str(file), mode))
        return plain(file, mode, *args, **words)

    monkeypatch.setattr(builtins, "open", opening)
    monkeypatch.setenv("TMPDIR", "/dev/shm")
    spy(torch, "save", lambda *_: "write")
    spy(os, "fsync", lambda descriptor: f"sync {what(descriptor)}")
    spy(os, "replace", lambda source, target: f"rename {Path(target).name}")
    write(tmp_path, "last.pt", 2)
    manifest = ["sync file", "rename manifest.json", "sync folder"]
    assert seen == ["write", "sync file", *manifest, "rename last.pt", "sync folder", *manifest]
    written = [Path(name) for name, mode in opened if set(mode) & set("wax+")]
    assert written and all(path.parent == tmp_path and path.name.startswith(".writing-") for path in written)


def test_leftovers_of_a_kill_are_swept_and_nothing_else(train: Train, tmp_path: Path) -> None:
    assert train(*TINY)[0] == 0
    weights = newest(tmp_path / "exp") / "weights"
    (weights / ".writing-last.pt.1").write_bytes(b"half")
    (weights / "mine.tmp").write_bytes(b"keep")
    (weights / ".writing-link.1").symlink_to(weights / "mine.tmp")
    assert train("--resume", "tiny", "--epochs", "4")[0] == 0
    assert not list(weights.glob(".writing-*")) and (weights / "mine.tmp").exists()
    assert sweep(weights) == []
