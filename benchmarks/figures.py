"""What the pictures of a training cost: a drawing of the curves, over an epoch of a minute.

The run has logged 10,000 steps and 200 validations already. The hook draws after an epoch only where a hundred times the last
drawing's time has gone by, so that the share stays below a hundredth whatever this figure is.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, seconds, show

EPOCH = 60.0  # seconds
STEPS, VALIDATIONS = 10_000, 200


def rows() -> list[dict[str, Any]]:
    """What metrics.jsonl holds of such a run."""
    train = [{"step": step, "train/loss": 2 / (1 + step / 500), "lr": 0.1} for step in range(1, STEPS)]
    every = STEPS // VALIDATIONS
    scores = ("val/top1", "val/top5", "val/f1_macro", "val/loss")
    return train + [{"step": step, **dict.fromkeys(scores, 1 / (1 + step / 900))} for step in range(every, STEPS, every)]


def main() -> None:
    """Draws in turns."""
    args = arguments(__doc__, rounds=15)
    import torch

    from engine.evaluators.classification import ClassificationEvaluator
    from engine.figures.curves import draw_curves
    from engine.figures.of_test import draw_confusion

    logged = rows()
    evaluator = ClassificationEvaluator(num_classes=10, device=torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        first = seconds(lambda: draw_curves(logged, "a run", path, primary="val/top1"))  # matplotlib is imported here
        curves = [seconds(lambda: draw_curves(logged, "a run", path, primary="val/top1")) for _ in range(args.rounds)]
        classes = [str(n) for n in range(10)]
        confusion = [
            seconds(lambda: draw_confusion(evaluator.confusion(), classes, "confusion", path)) for _ in range(args.rounds)
        ]
    result = {
        "ratio": statistics.median(curves) / EPOCH,
        "spread": [min(curves) / EPOCH, max(curves) / EPOCH],
        "first_s": first,
        "curves_s": statistics.median(curves),
        "confusion_s": statistics.median(confusion),
        "rounds": args.rounds,
    }
    show(result, args.json)


if __name__ == "__main__":
    main()
