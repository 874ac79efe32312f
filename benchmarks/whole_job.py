"""MNIST with lenet to 99 % test accuracy: wall time of the whole process, over the same recipe by hand.

    python -m benchmarks.whole_job [--json] [--rounds 1] [--peers] [--data FOLDER]

Ours is `tools/train_net.py` with configs/train_mnist_lenet.yml in two epochs of batches of 64: record, code copy,
validation, checkpoints, test and all. By hand is the script that most people write (benchmarks/whole_job_by_hand.py):
torchvision's MNIST and transforms, DataLoader, torch.optim, the same model, sizes of the splits, schedule and steps, with
what costs a word: the faster of 0 and 2 workers, which a run of TRIAL steps of each tells before (other libraries get the
same). Its images have torch's usual memory format; our config asks for channels_last, and so a second recipe by hand has it
too (`level`). The clock runs from the start of a
process to its end, after a short run of each that fills caches. FOLDER has MNIST/raw in it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.common import ROOT, make_parser, ratio, show, spread, with_byte_code

EPOCHS, BATCH, WANTED = 2, 64, 0.99
OWN = "ours", "by hand", "by hand, channels_last"
TRIAL, WORKERS = 400, (0, 2)  # steps: long enough that the start of workers weighs little
SHARED = ROOT.parent / "shared" / "data" / "mnist"


def main() -> int:
    """Measures and prints; 1 where there is no data."""
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--steps", type=int, default=0, help="so many steps only: for trying it out, not for accuracy")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MNIST_ROOT", SHARED)), metavar="FOLDER")
    args = parser.parse_args()
    if not (args.data / "MNIST" / "raw").is_dir():
        print(f"error: no MNIST below {args.data}; give the folder that MNIST/raw lies in with --data", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        args.data = unpack(args.data, Path(folder) / "data")
        show(measure(args, Path(folder)), args.json)
    return 0


def unpack(data: Path, folder: Path) -> Path:
    """The four files unpacked, which torchvision asks for, below `folder`, for all competitors."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (data / "MNIST" / "raw").glob("*-ubyte*"):
        content = file.read_bytes()
        (raw / file.name.removesuffix(".gz")).write_bytes(gzip.decompress(content) if file.suffix == ".gz" else content)
    return folder


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Seconds and test accuracies of all competitors in turns, and our ratio."""
    trials = {workers: trial(args, folder, workers) for workers in WORKERS}
    workers = min(trials, key=lambda number: trials[number])
    competitors = commands(args.data, folder, args.steps, workers)
    missing: dict[str, dict[str, str]] = {}
    for name in ("timm style", "Lightning"):
        if not args.peers or not peers.version(name):
            del competitors[name]
            missing |= {name: {"missing": "not installed"}} if args.peers else {}
    times: dict[str, list[float]] = {name: [] for name in competitors}
    scores: dict[str, float] = {}
    for name, command in commands(args.data, folder, 1, workers).items():
        if name not in competitors:
            continue
        try:
            run(command, folder)  # byte code and the disk's cache
        except RuntimeError as error:
            if name in OWN:
                raise
            missing[name] = {"missing": f"failed: {str(error).strip().splitlines()[-1][:200]}"}
            del competitors[name], times[name]
    for _ in range(args.rounds):
        for name, command in competitors.items():
            seconds, score = run(command, folder)
            times[name].append(seconds)
            scores[name] = min(score, scores.get(name, 1.0))
    hand, level = times["by hand"], times["by hand, channels_last"]
    others = {
        name: {"version": peers.version(name), "ratio": ratio(times[name], hand), "spread": spread(times[name], hand)}
        for name in competitors if name not in OWN
    }  # fmt: skip
    return {
        "ratio": ratio(times["ours"], hand), "spread": spread(times["ours"], hand), "rounds": args.rounds,
        "level": ratio(times["ours"], level), "spread_of_level": spread(times["ours"], level),
        "ours_s": statistics.median(times["ours"]), "by_hand_s": statistics.median(hand), "test_accuracy": scores,
        "workers_by_hand": workers, "trials_s": trials, "reached": args.steps == 0 and scores["ours"] >= WANTED,
        "peers": {**others, **missing},
    }  # fmt: skip


def trial(args: argparse.Namespace, folder: Path, workers: int) -> float:
    """Seconds of a part of the recipe by hand with so many workers; a step before it fills caches."""
    run(commands(args.data, folder, 1, workers)["by hand"], folder)
    return run(commands(args.data, folder, args.steps or TRIAL, workers)["by hand"], folder)[0]


def commands(data: Path, folder: Path, steps: int, workers: int) -> dict[str, list[str]]:
    """What is run; `steps` 0 is all of the recipe, and `workers` are those by hand."""
    ours = [
        "tools/train_net.py", "--config-file", "configs/train_mnist_lenet.yml", "--why", "how long does all of it take?",
        "--device", "cpu", "--output-dir", str(folder / "exp"), "DATASETS.ROOT", str(data), "SOLVER.MAX_EPOCHS", str(EPOCHS),
        "SOLVER.IMS_PER_BATCH", str(BATCH), "SOLVER.MAX_STEPS", str(steps), "DATASETS.LIMIT", str(steps * BATCH),
    ]  # fmt: skip
    words = [str(data), str(EPOCHS), str(BATCH), str(steps), str(workers)]
    kinds = [*OWN[1:], "timm style", "Lightning"]
    hand = {kind: ["-m", "benchmarks.whole_job_by_hand", kind, *words] for kind in kinds}
    return {"ours": ours, **hand}


def run(words: list[str], folder: Path) -> tuple[float, float]:
    """Seconds from the start of a process to its end, and the test accuracy that it says."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *words], cwd=ROOT, env=with_byte_code(folder), capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    found = re.findall(r"test/top1 ([\d.]+)", done.stdout + done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"{json.dumps(words)}: {done.stderr[-2000:]}")
    return seconds, float(found[-1])


if __name__ == "__main__":
    sys.exit(main())
