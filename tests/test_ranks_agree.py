"""Two gloo ranks under torchrun make one record and the weights of one process; accumulation makes the same."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, TINY, command, newest, read_json
from test_resume_equals_uninterrupted import assert_equal, final

from config import load_file

TOLERANCE = 1e-6  # float32 sums in another order
Train = Callable[..., tuple[int, str, str]]


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The model of last.pt."""
    content: dict[str, Any] = torch.load(run / "weights" / "last.pt", weights_only=True)
    return content["model"]


def launch(folder: Path, *words: str, ranks: int = 1) -> Path:
    """A run: in this process, or in as many of their own as there are ranks."""
    import _root
    import train_net

    words = ("tools/train_net.py", *TINY, "--output-dir", str(folder), *words)
    if ranks == 1:
        sys.argv = list(words)
        with pytest.raises(SystemExit) as end:
            _root.run_tool(train_net.main)
        assert not end.value.code
    else:
        done = command("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), *words)
        assert done.returncode == 0, done.stderr[-3000:]
    return newest(folder)


UNEVEN = ["SOLVER.IMS_PER_BATCH", "17"]  # 86 samples: the last window has one, and so some rank has none


@pytest.mark.slow
def test_ranks_and_accumulation_equal_one_process(tmp_path: Path) -> None:
    """Within TOLERANCE, uneven tails included: 1 x 17 == 2 ranks == 2 micro-batches == both, in weights and scores."""
    one = launch(tmp_path / "one", *UNEVEN)
    two = launch(tmp_path / "two", *UNEVEN, ranks=2)
    split = launch(tmp_path / "split", *UNEVEN, "SOLVER.ACCUMULATE", "2")
    both = launch(tmp_path / "both", *UNEVEN, "SOLVER.ACCUMULATE", "2", ranks=2)
    assert len([p for p in (tmp_path / "two").iterdir() if not p.name.startswith(".")]) == 1
    assert (two / "log_rank1.txt").is_file() and read_json(two / "run.json")["world_size"] == 2
    for other in (two, split, both):
        for name, value in weights(one).items():
            assert torch.allclose(value, weights(other)[name], atol=TOLERANCE, rtol=0), (other, name)
        assert read_json(other / "test.json")["metrics"]["test/top1"] == read_json(one / "test.json")["metrics"]["test/top1"]


@pytest.mark.slow
def test_two_ranks_give_the_scores_of_one_to_the_last_digit(tmp_path: Path) -> None:
    """Loss included: batches are the same, and their sums are added without rounding."""
    run = launch(tmp_path / "exp", "TEST.IMS_PER_BATCH", "11")
    alone = read_json(run / "test.json")
    (run / "test.json").unlink()
    done = command(
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "tools/test_net.py", str(run)
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_json(run / "test.json") == alone


@pytest.mark.slow
def test_two_ranks_with_batch_norm_and_dropout_resume_exactly_and_score_as_test_net_does(tmp_path: Path) -> None:
    words = ["MODEL.NAME", "example_model", "MODEL.DROP_PATH", "0.3", "SOLVER.IMS_PER_BATCH", "17", "SOLVER.EMA_DECAY", "0.9"]
    whole = launch(tmp_path / "whole", *words, ranks=2)
    stopped = launch(tmp_path / "stopped", *words, "SOLVER.MAX_STEPS", "8", ranks=2)  # in the middle of the second epoch
    script = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "tools/train_net.py"]
    done = command(*script, "--resume", str(stopped), "SOLVER.MAX_STEPS", "0")
    assert done.returncode == 0, done.stderr[-3000:]
    assert_equal(final(whole), final(stopped))
    recorded = read_json(whole / "status.json")["metrics"]
    tested = command("tools/test_net.py", str(whole), "--split", "val", "--json")
    assert tested.returncode == 0, tested.stderr
    scores = json.loads(tested.stdout)["metrics"]
    best = recorded["val/top1"]["best_step"]
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    then = next(row for row in rows if row["step"] == best and "val/loss" in row)
    assert scores == {name: then[name] for name in scores}


@pytest.mark.slow
def test_a_signal_that_reaches_one_rank_stops_all_and_is_resumable(tmp_path: Path) -> None:
    script = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "tools/train_net.py", *TINY]
    words = ["SOLVER.MAX_EPOCHS", "100000", "SOLVER.CHECKPOINT_SECONDS", "0.2", "--output-dir", str(tmp_path)]
    job = subprocess.Popen([sys.executable, *script, *words], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not list(tmp_path.glob("tiny_*/weights/last.pt")):
            time.sleep(0.2)
        run = newest(tmp_path)
        os.kill(read_json(run / "run.json")["pid"], signal.SIGTERM)  # rank 0 alone
        job.wait(300)
    finally:
        job.kill()
    status = read_json(run / "status.json")
    assert status["status"] == "interrupted" and status["reason"] == "signal SIGTERM", status["reason"]


def test_evaluation_workers_and_loaders_change_no_weight(train: Train, tmp_path: Path) -> None:
    augment = ["INPUT.TRANSFORMS_TRAIN", "[PadCrop, RandomHorizontalFlip]", "MODEL.DROP_PATH", "0.2", "MODEL.NAME", "resnet20"]
    cases = [
        [],
        ["SOLVER.EVAL_PERIOD", "3"],
        ["DATASETS.VAL", "synthetic:33x1x8x8x4", "DATASETS.VAL_FRACTION", "0", "DATASETS.TRAIN", "synthetic:86x1x8x8x4"],
        ["DATALOADER.LOADER", "processes"],
        ["DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", "2"],
    ]
    states = []
    for case in cases:
        words = [*TINY, *augment, "SOLVER.MAX_EPOCHS", "2", *case]
        code, log, _ = train(*words)
        assert code == 0, log
        states.append(weights(newest(tmp_path / "exp")))
    for state in (states[1], *states[3:]):
        assert all(torch.equal(value, state[name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())  # other data: the test can fail


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


def test_a_config_with_a_free_mapping_travels_between_ranks() -> None:
    """MODEL.ARGS and the like: check_ranks_agree sends every value."""
    values = load_file(None, [("MODEL.ARGS", "{width: 8}"), ("SOLVER.OPTIMIZER_ARGS", "{betas: [0.9, 0.99]}")]).flat()
    again = pickle.loads(pickle.dumps(values))
    assert again == values and type(again["MODEL.ARGS"]) is type(values["MODEL.ARGS"])
