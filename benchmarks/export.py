"""Parity and latency of what a run is exported to, over the model in PyTorch: example_model and a ResNet-18.

    python -m benchmarks.export [--json] [--rounds 3]

Each model is trained for one step, exported with the functions of tools/export.py and asked in turns, on one thread. `ratio` is
the time of the ONNX file by ONNX Runtime over that of the model in PyTorch, the median of both models and both batches (1 and
32); "worst" is the greatest difference of an output, also over what is allowed (below 1 is kept).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, quiet, show

MODELS = {
    "example_model, 32 x 32": ["MODEL.NAME", "example_model", "DATASETS.TRAIN", "synthetic:64x3x32x32x10"],
    "torchvision/resnet18, 64 x 64": ["MODEL.NAME", "torchvision/resnet18", "DATASETS.TRAIN", "synthetic:64x3x64x64x10"],
}


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__, rounds=3)
    rows = []
    for name, words in MODELS.items():
        with tempfile.TemporaryDirectory() as place:
            rows += measure(name, words, Path(place), args.rounds)
    ratios = [row["over_pytorch"][size] for row in rows if row["format"] == "onnx" for size in row["over_pytorch"]]
    result: dict[str, Any] = {
        "ratio": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
        "worst_over_allowed": max(row["worst_over_allowed"] for row in rows),
        "formats": rows,
        "rounds": args.rounds,
    }
    show(result, args.json)


def measure(name: str, words: list[str], place: Path, rounds: int) -> list[dict[str, Any]]:
    """A row a format: size, parity, milliseconds and their ratio to PyTorch's, by batch."""
    import train_net

    from engine.named_weights import find_trained
    from engine.shipping.build import load_for_export, sample_images
    from engine.shipping.export import export_to, latencies
    from engine.shipping.exported import Exported
    from engine.shipping.formats import FORMATS

    keys = ["SOLVER.MAX_STEPS", "1", "MODEL.DEVICE", "cpu", "TEST.AT_END", "False"]
    with quiet():
        code = train_net.main(["--name", "export", "--output-dir", str(place / "exp"), *words, *keys])
    assert code == 0, f"the run ended with {code}"
    cfg, weights, _ = find_trained(place / "exp", "export", [])
    trained = load_for_export(cfg, weights)
    images = sample_images(trained, 64)
    rows = export_to(trained, images, FORMATS, place / "export", lambda text: None)
    model = Exported(trained)
    asks = {"pytorch": model, **{key: form.load(place / "export" / form.file, model) for key, form in FORMATS.items()}}
    turns = [{key: latencies(ask, images) for key, ask in asks.items()} for _ in range(rounds)]
    found = []
    for row in rows:
        assert "failed" not in row, row
        key = row["format"]
        taken = {size: statistics.median(turn[key][size] for turn in turns) for size in ("1", "32")}
        over = {size: statistics.median(turn[key][size] / turn["pytorch"][size] for turn in turns) for size in taken}
        parity = {"worst": row["worst"], "worst_over_allowed": row["worst"] / row["allowed"]}
        found.append({"model": name, "format": key, "bytes": row["bytes"], **parity, "ms": taken, "over_pytorch": over})
    return found


if __name__ == "__main__":
    main()
