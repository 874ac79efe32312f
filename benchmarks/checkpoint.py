"""How long training stands still for a checkpoint: the copy that it waits for, against torch.save in the loop.

    python -m benchmarks.checkpoint [--json] [--sizes 100 1000] [--rounds 5] [--peers]

The state is that of a model after a step of SGD with momentum: half of it weights, half momentum. Both are measured in turns,
and a median is taken of each. The first save of a run, which also asks for the memory of the copy, stands apart. While the
file is written beside training, training shares the processor with it: that is in `until_on_disk`, the time from asking
until the file is hashed, flushed to disk and announced, over torch.save with a flush to disk.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.common import make_parser, ratio, seconds, spread, wait
from engine.checkpoint import CheckpointWriter
from engine.writing import Save, Saver


def main() -> None:
    """Measures and prints."""
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000], metavar="MB", help="sizes of the state")
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
            f"(first save {row['first']:.3f} s)  ratio {row['ratio']:.2f}  on disk after {row['until_on_disk']:.2f} of "
            "torch.save and fsync"
        )


def measure(megabytes: int, rounds: int, device: torch.device, folder: str | None) -> dict[str, Any]:
    """Seconds of both, and their ratios, for a state of a size."""
    model, optimizer = make_training(megabytes, device)
    plain, flushed, waits, whole = [], [], [], []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        file, saver = Path(place) / "plain.pt", Saver(CheckpointWriter(Path(place)))

        def state() -> dict[str, Any]:
            return {"progress": {"step": 1}, "model": model.state_dict(), "optimizer": optimizer.state_dict()}

        def ask() -> None:
            saver.start([Save("last.pt", state(), 1, None)], then=lambda: None)

        def timed(act: Callable[[], Any]) -> float:
            wait(device)
            return seconds(act)

        first = timed(ask)
        saver.finish()
        for _ in range(rounds):
            plain.append(timed(lambda: torch.save(state(), file)))
            flushed.append(plain[-1] + timed(lambda: flush(file)))
            waits.append(timed(ask))
            whole.append(waits[-1] + timed(saver.finish))  # a period between two checkpoints is longer than that
    return {
        "megabytes": megabytes, "torch_save": statistics.median(plain), "torch_save_and_fsync": statistics.median(flushed),
        "waits": statistics.median(waits), "first": first, "ratio": ratio(waits, plain), "spread": spread(waits, plain),
        "until_on_disk": ratio(whole, flushed), "until_on_disk_spread": spread(whole, flushed),
    }  # fmt: skip


def make_training(megabytes: int, device: torch.device) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model of 50 tensors and its optimizer after one step, `megabytes` together."""
    count = megabytes * 250_000 // 100
    model = nn.ParameterDict({f"w{i}": nn.Parameter(torch.randn(count, device=device)) for i in range(50)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return model, optimizer


def flush(file: Path) -> None:
    """Until it is on the disk."""
    with open(file, "rb+") as opened:
        os.fsync(opened.fileno())


if __name__ == "__main__":
    main()
