"""The code copy takes what git would commit or is new, leaves out secrets and large files, and says so."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tracking import snapshot
from tracking.environment import git_facts
from utils.errors import UserError
from utils.redact import redact_command


def project(folder: Path, git: bool) -> Path:
    """A tree with tracked, untracked, ignored, secret, large and linked files."""
    (folder / "data" / "datasets").mkdir(parents=True)
    (folder / "datasets").mkdir()
    (folder / "exp").mkdir()
    files = {"a.py": "1", "data/datasets/own.py": "2", "datasets/big.bin": "x", "exp/x.txt": "y", ".env": "KEY=1", "k.pem": "k"}
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / ".gitignore").write_text("/datasets/\n/exp/*\n*.log\n")
    (folder / "huge.dat").write_bytes(b"0" * 2_000_001)
    (folder / "noise.log").write_text("ignored")
    (folder / "out").symlink_to("/etc/hostname")
    if git:
        for words in (["init", "-q"], ["add", "a.py"]):
            subprocess.run(["git", *words], cwd=folder, check=True)
    (folder / "new.py").write_text("untracked")
    return folder


@pytest.mark.parametrize("git", [True, False])
def test_copy_has_the_code_and_names_what_it_left_out(git: bool, tmp_path: Path) -> None:
    root = project(tmp_path / "tree", git)
    taken = snapshot.take(root, tmp_path / "copy")
    assert set(taken.files) == {".gitignore", "a.py", "data/datasets/own.py", "new.py"}
    assert set(taken.skipped) == {".env", "k.pem", "huge.dat", "out"}
    (tmp_path / "copy.sha256").write_text(snapshot.checksum_lines(taken, "copy"))
    assert subprocess.run(["sha256sum", "-c", "--quiet", "copy.sha256"], cwd=tmp_path).returncode == 0
    assert snapshot.take(tmp_path / "copy", None).files == taken.files


def test_ignore_files_are_read_as_git_reads_them(tmp_path: Path) -> None:
    files = ["a.py", "b.log", "keep.log", "data/raw/x.py", "data/own.py", "data/tmp/y.py", "docs/raw/z.py"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\ndata/raw/\n")
    (tmp_path / "data" / ".gitignore").write_text("/tmp\n")
    walked = set(snapshot.take(tmp_path, None).files)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    assert walked == set(snapshot.take(tmp_path, None).files)
    assert walked == {".gitignore", "data/.gitignore", "a.py", "keep.log", "data/own.py", "docs/raw/z.py"}


def test_names_that_no_list_can_hold_are_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("")
    (tmp_path / "two\nlines.py").write_text("")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.py", "w"):
        pass
    taken = snapshot.take(tmp_path, None)
    assert set(taken.files) == {"a.py"} and len(taken.skipped) == 2
    json.dumps(taken.skipped, ensure_ascii=False).encode()


def test_code_digest_sees_sources_only(tmp_path: Path) -> None:
    root = project(tmp_path / "tree", git=False)
    before = snapshot.take(root, None)
    (root / "notes.md").write_text("more")
    after = snapshot.take(root, None)
    assert before.code_digest == after.code_digest and before.tree_digest != after.tree_digest
    (root / "a.py").write_text("2")
    assert snapshot.take(root, None).code_digest != before.code_digest


def test_a_tree_that_is_too_large_is_refused_by_folder(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for n in range(5001):
        (tmp_path / "pictures" / f"{n}.txt").touch()
    with pytest.raises(UserError, match="'pictures'"):
        snapshot.take(tmp_path, None)


def test_passwords_in_the_command_are_blotted_out() -> None:
    words = ["x", "--data", "https://me:pw@host/x", "--token", "abc", "--api-key=abc"]
    assert redact_command(words) == ["x", "--data", "https://***@host/x", "--token", "***", "--api-key=***"]


def test_runs_are_no_code_wherever_they_lie(tmp_path: Path) -> None:
    for name in ("tree/main.py", "tree/other/exp_1/run.json", "tree/other/exp_1/status.json", "tree/other/exp_1/scripts/a.py",
                 "tree/other/.index/index.sqlite", "tree/other/mine.py", "tree/run.json"):  # fmt: skip
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    assert list(snapshot.take(tmp_path / "tree", None).files) == ["main.py", "other/mine.py", "run.json"]


def test_asking_git_writes_nothing_into_the_repository(tmp_path: Path) -> None:
    root = project(tmp_path / "tree", git=True)
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *identity, "commit", "-qam", "all", "--allow-empty"], cwd=root, check=True)
    index, file = root / ".git" / "index", root / "a.py"
    os.utime(file, (1, 1))  # the index has other times of it: a plain `git status` writes them down
    before = index.read_bytes()
    assert git_facts(root)["commit"] and index.read_bytes() == before
    subprocess.run(["git", "status"], cwd=root, check=True, capture_output=True)
    assert index.read_bytes() != before, "a plain status does write here, so that the promise is worth something"
