"""tools/pack.py: equal files give equal bytes, a killed packing goes on, what cannot be read is counted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, command
from test_shards import SAMPLES, jpeg_of, make_folder, opened, pack

from data.datasets import DATASETS
from utils.errors import UserError


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_equal_files_give_equal_bytes_and_checksums_hold(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        folder = make_folder(tmp_path / name)
        (folder / "test" / "c0").mkdir(parents=True)
        (folder / "test" / "c0" / "x.y.JPG").write_bytes(jpeg_of(99))
        words = ["--samples", "25", "--jobs", "1" if name == "a" else "3"]
        assert pack(str(folder), "-o", str(tmp_path / name / "out"), *words) == 0
    assert contents(tmp_path / "a" / "out") == contents(tmp_path / "b" / "out")
    assert len(list((tmp_path / "a" / "out").glob("train-*.tar"))) == 3
    check = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tmp_path / "a" / "out", capture_output=True, text=True)
    assert check.returncode == 0 and check.stdout.count(": OK") == 9
    test = opened(f"{tmp_path}/a/out/test-*.tar", tmp_path)
    assert len(test) == 1 and test.path(0).endswith("test-000000.tar:x.y.JPG")


def test_shards_are_no_larger_than_asked_for(tmp_path: Path) -> None:
    assert pack(str(make_folder(tmp_path)), "-o", str(tmp_path / "out"), "--shard-size", "0.03") == 0
    sizes = [path.stat().st_size for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert len(sizes) > 3 and max(sizes) <= 30_000 and min(sizes[:-1]) > 20_000
    assert len(opened(f"{tmp_path}/out/train-*.tar", tmp_path)) == SAMPLES


def test_targets_of_csv_files_are_kept(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg_of(number))
    (tmp_path / "one.csv").write_text("path,target\n0.jpg,zebra\n1.jpg,ant\n2.jpg,\n3.jpg,bee\n")
    (tmp_path / "many.csv").write_text("path,targets\n0.jpg,zebra|ant\n1.jpg,\n2.jpg,ant\n3.jpg,bee;zebra\n")
    for name, samples in (("one", 3), ("many", 4)):
        assert pack(f"csv:{tmp_path}/{name}.csv", "-o", str(tmp_path / name)) == 0
        loose, packed = DATASETS.get("csv")(f"{tmp_path}/{name}.csv", "", True, 0), opened(f"{tmp_path}/{name}/*.tar", tmp_path)
        targets = {Path(loose.path(number)).name: loose.targets[number] for number in range(4)}
        assert packed.classes == loose.classes == ["ant", "bee", "zebra"] and len(packed) == samples
        assert all(targets[packed.path(number).partition(":")[2]] == packed.targets[number] for number in range(samples))
        # without the indices, the labels within say the same
        for index in (tmp_path / name).glob("*.index"):
            index.unlink()
        bare = opened(f"{tmp_path}/{name}/*.tar", tmp_path)
        assert bare.classes == packed.classes and list(bare.targets) == list(packed.targets)


def test_files_that_cannot_be_read_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(tmp_path)
    (folder / "train" / "c0" / "000.jpg").write_bytes(b"")
    (folder / "train" / "c1" / "001.jpg").write_bytes(jpeg_of(1)[:-200])
    (folder / "train" / "c2" / "gone.jpg").symlink_to("nowhere")
    words = [str(folder), "-o", str(tmp_path / "out"), "--samples", "10"]
    assert pack(*words) == 1
    said = capsys.readouterr().out
    assert "left out: 3 files that cannot be read" in said and "000.jpg: an empty file" in said and "gone.jpg: no such" in said
    assert len(opened(f"{tmp_path}/out/train-*.tar", tmp_path)) == SAMPLES - 2
    assert pack(*words) == 1 and "left out: 3 files" in capsys.readouterr().out  # also where the rest was there already


@pytest.mark.slow
def test_a_killed_packing_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, 300)
    words = [str(folder), "--samples", "10", "--jobs", "1"]
    assert pack(*words, "-o", str(tmp_path / "whole")) == 0
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools" / "pack.py"), *words, "-o", str(out)], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while len(list(out.glob("*.index"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_ino for path in out.glob("*.tar") if Path(f"{path}.index").exists()}
    assert 4 <= len(finished) < 30
    damaged = next(iter(finished))
    damaged.write_bytes(damaged.read_bytes()[:-600] + bytes(600)[:599] + b"x")
    os.utime(damaged, ns=(1 << 62, 1 << 62))
    assert pack(*words, "-o", str(out)) == 0
    assert contents(out) == contents(tmp_path / "whole")
    kept = {path for path, inode in finished.items() if path.stat().st_ino == inode}
    assert kept == set(finished) - {damaged}


def test_changed_files_are_packed_again(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    words = [str(folder), "-o", str(tmp_path / "out"), "--samples", "10"]
    assert pack(*words) == 0
    before, one = contents(tmp_path / "out"), folder / "train" / "c0" / "000.jpg"
    one.write_bytes(one.read_bytes()[:-2] + b"\xff\xd9")
    assert pack(*words) == 0 and contents(tmp_path / "out") == before
    (folder / "train" / "c0" / "more.jpg").write_bytes(jpeg_of(1000))
    with pytest.raises(UserError, match="train-000000.tar.index is of another packing: other files"):
        pack(*words)


def test_shards_of_another_packing_are_not_mixed_in(tmp_path: Path) -> None:
    folder = str(make_folder(tmp_path))
    assert pack(folder, "-o", str(tmp_path / "out"), "--samples", "10") == 0
    for size in ("5", "30"):
        with pytest.raises(UserError, match=r"out/train-00000\d.tar\S* is of another packing"):
            pack(folder, "-o", str(tmp_path / "out"), "--samples", size)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "-o", "out"], "nowhere"),
        (["image_folder:nowhere", "-o", "out"], "no such folder"),
        (["digits", "-o", "out"], "digits has no image files to pack"),
        (["photos"], "the following arguments are required: -o/--out"),
        (["photos", "-o", "out", "--shards", "3"], "--shards 3"),
        (["photos", "-o", "out", "--samples", "-1"], "no less than 0"),
        (["photos", "-o", "file"], "-o file: File exists"),
        (["empty.csv", "-o", "out"], "no cell of the column target names a class"),
    ],
)
def test_wrong_words_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str) -> None:
    make_folder(tmp_path, 3)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty.csv").write_text("path,target\na.jpg,\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(said)):
        pack(*words)
    assert not (tmp_path / "out").exists()


def test_a_wrong_word_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = command(str(ROOT / "tools" / "pack.py"), "photos", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1


def test_two_packings_never_both_claim_a_folder(tmp_path: Path) -> None:
    """Also where one has opened the lock while another that ends holds it."""
    import fcntl

    from pack import claimed

    with claimed(tmp_path):
        waiting = open(tmp_path / ".lock", "wb")  # noqa: SIM115
    with waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(UserError, match=r"another pack.py is writing there"), claimed(tmp_path):
            pass
