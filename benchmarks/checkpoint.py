"""How long training stands still for a checkpoint: the copy that it waits for, against torch.save in the loop.

    python -m benchmarks.checkpoint [--json] [--sizes 100 1000] [--rounds 5] [--peers]

Both are measured in turns, and a median is taken of each. The first save of a run, which also asks for the memory of the
copy, stands apart. While the file is written beside training, training shares the processor with it: that is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from engine.checkpoint import CheckpointWriter  # noqa: E402
from engine.writing import Save, Saver  # noqa: E402


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object to stdout and nothing else")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000], metavar="MB", help="sizes of the state")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="other libraries as well, those that are installed")
    parser.add_argument("--folder", default=None, help="where to write (default: the temporary folder)")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = [measure(size, args.rounds, device, args.folder) for size in args.sizes]
    if args.peers:
        from benchmarks import checkpoint_peers

        for row in results:
            row["peers"] = checkpoint_peers.measure_all(row["megabytes"], args.rounds)
    if args.json:
        worst = max(row["ratio"] for row in results)
        print(json.dumps({"ratio": worst, "device": str(device), "rounds": args.rounds, "sizes": results}))
        return
    for row in results:
        print(
            f"{row['megabytes']:5d} MB  torch.save {row['torch_save']:.3f} s  training waits {row['waits']:.3f} s "
            f"(first save {row['first']:.3f} s)  ratio {row['ratio']:.2f}"
        )


def measure(megabytes: int, rounds: int, device: torch.device, folder: str | None) -> dict[str, Any]:
    """Seconds of both, and their ratio, for a state of a size in 50 tensors."""
    count = megabytes * 250_000 // 50
    state = {"progress": {"step": 1}, "model": {f"w{i}": torch.randn(count, device=device) for i in range(50)}}
    plain, ours = [], []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        saver = Saver(CheckpointWriter(Path(place)))

        def ask() -> None:
            saver.start([Save("last.pt", state, 1, None)], then=lambda: None)

        first = seconds(ask, device)
        saver.finish()
        for _ in range(rounds):
            plain.append(seconds(lambda: torch.save(state, Path(place) / "plain.pt"), device))
            ours.append(seconds(ask, device))
            saver.finish()  # a period between two checkpoints is longer than a write
    save, waits = statistics.median(plain), statistics.median(ours)
    ratios = [one / other for one, other in zip(ours, plain, strict=True)]
    return {
        "megabytes": megabytes, "torch_save": save, "waits": waits, "first": first, "ratio": waits / save,
        "spread": [min(ratios), max(ratios)],
    }  # fmt: skip


def seconds(act: Callable[[], Any], device: torch.device) -> float:
    """How long `act` takes."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
