"""A trial of a sweep over a process of its own: `tools/sweep.py` against as many calls of `tools/train_net.py`.

    python -m benchmarks.sweep [--json] [--rounds 2]

Both train the same tiny models on the built-in digits, each with its own record. `seconds_per_trial` is the sweep's own time
a trial: choosing the point, forking, reading the record, noting the outcome; `seconds_with_start` is all of a trial's wall
time within the sweep, whose own start is shared by all trials. `ratio` is a sweep of TRIALS over TRIALS single processes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, arguments, ratio, seconds, show, spread, with_byte_code

TRIALS = 8
KEYS = ["--epochs", "2", "DATASETS.TRAIN", "digits", "MODEL.NAME", "softmax", "MODEL.DEVICE", "cpu", "TEST.AT_END", "false"]


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__, rounds=2)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ours, single, results = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(with_byte_code(Path(folder)))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        swept(f"{folder}/warm", "warm", 2)  # the disk's cache and the byte code are there after this
        for number in range(args.rounds):
            ours.append(seconds(lambda n=number: results.append(swept(f"{folder}/exp", f"sweep{n}", TRIALS))))
            words = ["tools/train_net.py", "--name", "single", f"--output-dir={folder}/exp", *KEYS]
            single.append(TRIALS / 2 * seconds(lambda words=words: [python(words) for _ in range(2)]))
    result: dict[str, Any] = {
        "ratio": ratio(ours, single),
        "spread": spread(ours, single),
        "seconds_per_trial": statistics.median(found["overhead_seconds"] for found in results),
        "seconds_with_start": statistics.median(ours) / TRIALS,
        "seconds_of_a_process": statistics.median(single) / TRIALS,
        "trials": TRIALS,
        "rounds": args.rounds,
    }
    show(result, args.json)


def swept(folder: str, name: str, count: int) -> dict[str, Any]:
    """What a sweep over `count` learning rates prints as JSON."""
    rates = ",".join(str(0.01 * (n + 1)) for n in range(count))
    words = ["tools/sweep.py", "--search", f"SOLVER.BASE_LR=grid({rates})", f"--output-dir={folder}", "--name", name, "--json"]
    found: dict[str, Any] = json.loads(python([*words, *KEYS]))
    return found


def python(words: list[str]) -> str:
    """What a process of this interpreter prints."""
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
