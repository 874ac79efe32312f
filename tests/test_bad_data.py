"""Bad samples and bad workers: named by path, counted over the run, ended in time; a resume goes on counting."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import command, newest, read_json
from PIL import Image
from test_adding_is_one_file import fork, write
from test_resume_equals_uninterrupted import Stop, assert_equal, final

from data.datasets.csv_file import csv_file
from data.datasets.image_folder import image_folder
from data.images import BadSample, read_image
from engine.checkpoint import load_checkpoint
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
KEYS = [
    "MODEL.NAME", "mlp", "MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "8", "SOLVER.MAX_EPOCHS", "2", "SOLVER.LOG_PERIOD", "2",
    "DATASETS.VAL_FRACTION", "0.2", "NAME", "bad",
]  # fmt: skip


def jpeg(shade: int) -> bytes:
    """A small picture."""
    stream = io.BytesIO()
    noise = numpy.random.default_rng(shade).integers(0, 256, (8, 8, 3), dtype=numpy.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    return stream.getvalue()


def table(folder: Path, rows: int = 60) -> Path:
    """A CSV of pictures of which six are bad, each in another way."""
    folder.mkdir()
    lines = ["path,target"]
    for n in range(rows):
        (folder / f"{n}.jpg").write_bytes(jpeg(n))
        lines.append(f"{n}.jpg,{'ab'[n % 2]}")
    (folder / "10.jpg").write_bytes(b"")
    (folder / "11.jpg").write_text("<html>not found</html>")
    (folder / "12.jpg").write_bytes(jpeg(12)[: len(jpeg(12)) // 2])
    (folder / "13.jpg").unlink()
    Image.fromarray(numpy.full((8, 8), 0.5, dtype=numpy.float32)).save(folder / "14.tif")
    lines[15] = "14.tif,a"
    lines[21] = "20.jpg,"
    (folder / "set.csv").write_text("\n".join(lines) + "\n")
    return folder / "set.csv"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("path,target\na.png,\u6c49\n".encode("gbk"), "no UTF-8 text"),
        (b"path,target\n" + b"x" * 200_000 + b",a\n", "field larger than"),
        (b"x,y\n1,2\nnan,3\n", "t.csv:3: ['nan', '3'] holds what is no finite number"),
    ],
    ids=["gbk", "endless", "nan"],
)
def test_a_table_that_cannot_be_used_is_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=re.escape(said)):
        csv_file(str(tmp_path / "t.csv"), "", True, 0)


def test_what_excel_writes_around_a_table_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfpath,target\r\na.png,cat\r\n\r\n")
    read = csv_file(str(tmp_path / "t.csv"), "", True, 0)
    assert read is not None and len(read) == 1 and list(read.classes) == ["cat"]


def test_names_of_image_files(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for name in ("1.png", "._1.png"):
        (tmp_path / "cat" / name).touch()
    read = image_folder(str(tmp_path), "", True, 0)
    assert read is not None and len(read) == 1  # macOS left the other one
    (tmp_path / "cat" / os.fsdecode("\U0001f408".encode() + b"\xff.png")).touch()
    with pytest.raises(UserError, match="is no UTF-8; rename"):
        image_folder(str(tmp_path), "", True, 0)


def test_pictures_without_a_known_scale_are_refused(tmp_path: Path) -> None:
    Image.fromarray(numpy.full((4, 4), 0.5, dtype=numpy.float32)).save(tmp_path / "f.tif")
    Image.fromarray(numpy.full((4, 4), 10**6, dtype=numpy.int32)).save(tmp_path / "i.tif")
    for name in ("f.tif", "i.tif"):
        with pytest.raises(BadSample, match=f"{name}.*full scale is unknown"):
            read_image(tmp_path / name, 1)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_bad_sample_ends_the_run_with_its_path_and_index(workers: str, train: Train, tmp_path: Path) -> None:
    file = table(tmp_path / "set")
    code, log, _ = train(*KEYS, "DATASETS.TRAIN", f"csv:{file}", "DATALOADER.NUM_WORKERS", workers)
    assert code == 2 and "set/20.jpg (sample 20)" in log and "no label" in log and not (tmp_path / "exp").exists()
    file.write_text(file.read_text().replace("20.jpg,\n", "20.jpg,a\n"))
    code, log, _ = train(*KEYS, "DATASETS.TRAIN", f"csv:{file}", "DATALOADER.NUM_WORKERS", workers)
    assert code == 1 and "Traceback" not in log, log
    reason = read_json(newest(tmp_path / "exp") / "status.json")["reason"]
    assert any(f"/set/{bad}" in reason for bad in ("10.jpg", "11.jpg", "12.jpg", "13.jpg", "14.tif")) and "(sample" in reason


def test_bad_samples_left_out_are_counted_over_the_run_and_resume_is_exact(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = table(tmp_path / "set")
    words = [*KEYS, "DATASETS.TRAIN", f"csv:{file}", "DATALOADER.BAD_SAMPLES", "skip", "DATALOADER.MAX_BAD", "0.5"]
    code, log, _ = train(*words, "DATALOADER.NUM_WORKERS", "2")
    assert code == 0, log
    whole = newest(tmp_path / "exp")
    with monkeypatch.context() as patch:
        Stop(3)(patch)
        assert train(*words)[0] == 75
    stopped = newest(tmp_path / "exp")
    code, log, _ = train("--resume", stopped.name)
    assert code == 0, log
    assert_equal(final(whole), final(stopped))
    counted = final(whole)["bad_samples"]["indices"]
    data = read_json(whole / "run.json")["data"]
    assert sum(data[split]["samples"] for split in data) == 59  # the one without a label is no sample at all
    log = (whole / "log.txt").read_text()
    bad = [name for name in ("10.jpg", "11.jpg", "12.jpg", "13.jpg", "14.tif") if f"left out: {tmp_path}/set/{name}" in log]
    assert len(bad) == 5 and 1 <= len(counted) <= 5 and log.count("left out: ") >= 6
    tested = read_json(whole / "test.json")
    rows = (whole / "predictions.csv").read_text().count("\n") - 1
    assert tested["samples"] == rows <= data["test"]["samples"] and tested == read_json(stopped / "test.json")


def test_too_many_bad_samples_end_the_run(train: Train, tmp_path: Path) -> None:
    file = table(tmp_path / "set")
    words = [*KEYS, "DATASETS.TRAIN", f"csv:{file}", "DATALOADER.BAD_SAMPLES", "skip", "DATALOADER.MAX_BAD", "0.02"]
    code, log, _ = train(*words)
    status = read_json(newest(tmp_path / "exp") / "status.json")
    assert code == 1 and "are bad" in status["reason"] and "DATALOADER.MAX_BAD allows 2 %" in status["reason"], log
    assert f"{tmp_path}/set/1" in status["reason"] and "Traceback" not in log


TROUBLE = """
    import os, signal, time
    import torch
    from data.dataset import Dataset
    from data.datasets import DATASETS
    class Trouble(Dataset):
        name, channels, classes, targets = "trouble", 1, ["a", "b"], [0, 1] * 64
        def __init__(self, kind):
            self.kind = kind
        def path(self, index):
            return f"pictures/{index}.jpg"
        def __getitem__(self, index):
            from torch.utils.data import get_worker_info
            if index == 13 and get_worker_info() is not None and os.path.exists("armed"):
                if self.kind == "dies":
                    os.kill(os.getpid(), signal.SIGKILL)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(1000)
            return {"image": torch.zeros(1, 4, 4, dtype=torch.uint8), "target": self.targets[index], "index": index}
    @DATASETS.register("trouble")
    def trouble(place, root, train, seed):
        return Trouble(place)
"""
# Armed after the first epoch, so that there is a checkpoint to look after.
ARM = """
    from engine.hooks import HOOKS, Hook
    @HOOKS.register("arm")
    class Arm(Hook):
        def __init__(self, run, evaluation):
            pass
        def after_epoch(self, trainer):
            open("armed", "w").close()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "said"), [("dies", "a data worker died"), ("hangs", "took more than 3 s")])
def test_a_worker_in_trouble_names_its_sample_and_spares_the_checkpoints(kind: str, said: str, tmp_path: Path) -> None:
    root = fork(tmp_path / "fork")
    write(root, {"data/datasets/trouble.py": TROUBLE, "engine/hooks/arm.py": ARM})
    start = time.monotonic()
    done = command(
        "tools/train_net.py", "DATASETS.TRAIN", f"trouble:{kind}", "DATASETS.VAL_FRACTION", "0",
        "MODEL.NAME", "softmax", "MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", "4", "DATALOADER.NUM_WORKERS", "2",
        "DATALOADER.SAMPLER", "sequential", "DATALOADER.TIMEOUT", "3", "HOOKS", "[arm]", "NAME", "x",
        "--output-dir", str(tmp_path / "exp"), cwd=root,
    )  # fmt: skip
    assert done.returncode == 1 and time.monotonic() - start < 200, done.stderr
    run = newest(tmp_path / "exp")
    reason = read_json(run / "status.json")["reason"]
    assert said in reason and "sample 13 (pictures/13.jpg)" in reason and "Traceback" not in done.stderr, done.stderr
    assert "/dev/shm" in reason or kind == "hangs"
    assert load_checkpoint(run / "weights" / "last.pt")["progress"]["epoch"] == 1


def test_the_death_of_a_worker_waits_until_a_batch_is_asked_for() -> None:
    import os
    import signal

    from config import load_file
    from data import build_splits, make_data_loader
    from utils.errors import RunFailed

    words = [("DATASETS.TRAIN", "synthetic:400x1x4x4x2"), ("DATALOADER.LOADER", "processes"), ("DATALOADER.NUM_WORKERS", "1")]
    cfg = load_file(None, [*words, ("SOLVER.IMS_PER_BATCH", "2")])
    batches = iter(make_data_loader(cfg, "train", build_splits(cfg)))
    next(batches)
    import multiprocessing

    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(0.5)  # nothing is raised here, where a step or a save would be
    with pytest.raises(RunFailed, match="a data worker died"):
        list(batches)


def test_a_sample_left_out_by_another_rank_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from data.dataset import ArrayDataset
    from data.loaders.bad_samples import BadSamples
    from engine import distributed
    from engine.left_out import LeftOut
    from utils.errors import RunFailed

    dataset = ArrayDataset("x", torch.zeros(10, 1, 1, 1), torch.zeros(10))
    part = LeftOut(BadSamples(dataset, 0.2))
    part.bad.add([(3, "three"), (3, "three")])
    others: list[Any] = [{"indices": [3, 4]}]
    monkeypatch.setattr(distributed, "gather", lambda own: [own, *others])
    assert part.state_dict() == {"indices": [3, 4]}
    others.append({"indices": [7]})
    with pytest.raises(RunFailed, match=r"3 of 10 samples of x are bad \(30 %"):
        part.state_dict()
