"""Peak resident memory of a recorded MLP run, over the plain loop on the same data.

    python -m benchmarks.memory [--json] [--rounds 3]

Each is a process of its own, six epochs on made images of 28 x 28; the plain loop is that of benchmarks.overhead. Where the
two processes end up is compared, in MB; `ratio` is ours over the plain one's.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

from benchmarks.common import ROOT, arguments, show

SAMPLES, BATCH, EPOCHS = 5_000, 64, 6  # few samples: making them must not be the peak


def main() -> None:
    """Measures and prints; with a word as the first argument, is one of the two processes."""
    if sys.argv[1:2] in (["ours"], ["plain"]):
        (train_ours if sys.argv[1] == "ours" else train_plain)()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    args = arguments(__doc__, rounds=3)
    turns: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(args.rounds):
        for kind, peaks_of in turns.items():
            peaks_of.append(peak(kind))
    more = [ours - plain for ours, plain in zip(turns["ours"], turns["plain"], strict=True)]
    peaks = {kind: statistics.median(values) for kind, values in turns.items()}
    result = {
        "ratio": peaks["ours"] / peaks["plain"],
        "more_mb": peaks["ours"] - peaks["plain"],
        "more_mb_spread": [min(more), max(more)],
        "rounds": args.rounds,
        "ours_mb": peaks["ours"],
        "plain_mb": peaks["plain"],
    }
    show(result, args.json)


def peak(kind: str) -> float:
    """Peak resident memory of one of the two, in MB."""
    words = [sys.executable, "-m", "benchmarks.memory", kind]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def train_ours() -> None:
    """The recorded run."""
    from benchmarks.common import recorded_run
    from engine.hooks.base import Hook

    keys = {
        "NAME": "memory", "DATASETS.TRAIN": f"synthetic:{SAMPLES}x1x28x28x10", "DATASETS.VAL_FRACTION": 0.0,
        "MODEL.NAME": "mlp", "SOLVER.IMS_PER_BATCH": BATCH, "SOLVER.MAX_EPOCHS": EPOCHS,
    }  # fmt: skip
    recorded_run([str(word) for pair in keys.items() for word in pair], Hook())


def train_plain() -> None:
    """The plain loop, over the images made in the same way."""
    import torch

    from benchmarks.overhead import plain_batches, plain_loop
    from data.datasets.synthetic import synthetic
    from modeling.models.mlp import mlp

    place = f"{SAMPLES}x1x28x28x10"
    train, test = (synthetic(place, "", part, 0).arrays() for part in (True, False))
    assert train is not None and test is not None
    model = mlp(in_channels=1, num_classes=10, image_size=(28, 28))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for _ in range(EPOCHS):
        plain_loop(model, optimizer, plain_batches(*train, BATCH))


if __name__ == "__main__":
    main()
