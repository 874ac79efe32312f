"""From the start of a process to the end of its first optimizer step, over the shortest script with torch.optim.

    python -m benchmarks.startup [--json] [--rounds 5] [--peers]

Ours is `tools/train_net.py` with the default config on 60,000 images in MNIST's own format: it reads and splits them,
makes the record, copies the code and opens a TensorBoard file before that step. The clock stops when the line of the first
step arrives. The other script makes a linear layer and a random batch, and steps with torch.optim.SGD.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy

from benchmarks.common import ROOT, arguments, ratio, show, spread, with_byte_code

SHORTEST = """
import torch
model = torch.nn.Linear(784, 10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
loss = torch.nn.functional.cross_entropy(model(torch.randn(64, 784)), torch.randint(0, 10, (64,)))
loss.backward()
optimizer.step()
print("step 1/1", flush=True)
"""
TRAIN, TEST = 60_000, 10_000


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__, rounds=5)
    with tempfile.TemporaryDirectory() as folder:
        make_mnist(Path(folder) / "MNIST" / "raw")
        command = [
            "tools/train_net.py", "--device", "cpu", "--why", "how soon?", "--output-dir", f"{folder}/exp", "NAME", "startup",
            "DATASETS.ROOT", folder, "SOLVER.MAX_STEPS", "1", "TEST.AT_END", "False",
        ]  # fmt: skip
        os.environ.update(with_byte_code(Path(folder)))
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        first_step(command), first_step(["-c", SHORTEST])  # the disk's cache is warm after these
        ours, shortest = [], []
        for _ in range(args.rounds):
            ours.append(first_step(command))
            shortest.append(first_step(["-c", SHORTEST]))
        others = {}
        if args.peers:
            from benchmarks import startup_peers

            others = {"peers": startup_peers.measure_all(first_step, ["-c", SHORTEST], args.rounds)}
    times = {"ours_s": statistics.median(ours), "shortest_s": statistics.median(shortest)}
    result = {"ratio": ratio(ours, shortest), "spread": spread(ours, shortest), "rounds": args.rounds, **times, **others}
    show(result, args.json)


def first_step(words: list[str]) -> float:
    """Seconds until a process of this interpreter says "step 1/1"; it is ended there."""
    start, seen = time.perf_counter(), 0.0
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("step 1/1"):
            seen = time.perf_counter() - start
            process.kill()
            break
    process.stdout.close()
    process.wait()
    if not seen:
        raise RuntimeError("".join(lines))
    return seen


def make_mnist(folder: Path) -> None:
    """The four files of MNIST as torchvision leaves them, of random pixels."""
    folder.mkdir(parents=True)
    rng = numpy.random.default_rng(0)
    for part, count in (("train", TRAIN), ("t10k", TEST)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=numpy.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", numpy.arange(count) % 10)):
            head = bytes([0, 0, 8, array.ndim]) + numpy.asarray(array.shape, ">u4").tobytes()
            (folder / f"{part}-{name}-ubyte").write_bytes(head + array.astype(numpy.uint8).tobytes())


if __name__ == "__main__":
    main()
