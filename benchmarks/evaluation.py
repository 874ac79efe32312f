"""Validation of 10,000 images with the softmax model, over a plain loop that counts matches.

    python -m benchmarks.evaluation [--json] [--rounds 25] [--peers]

Ours gives top1, top5, macro F1 and the loss, exact over ranks. The plain loop slices the same tensors into batches of the
same size, normalises them, and adds up where argmax and target are equal. One thread.
"""

from __future__ import annotations

import os
import statistics

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import config
from benchmarks.common import MEAN, STD, arguments, ratio, seconds, show, spread
from data import build_prepare, build_splits, make_data_loader
from engine.build import build_task
from engine.evaluators.build import build_evaluator
from engine.inference import evaluate

SAMPLES = 10_000


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__, rounds=25)
    torch.set_num_threads(1)
    words = ["DATASETS.TRAIN", f"synthetic:{SAMPLES}x1x28x28x10", "MODEL.NAME", "softmax", "DATASETS.VAL_FRACTION", "0.0"]
    cfg, device = config.load(config.parse_arguments(words)), torch.device("cpu")
    splits = build_splits(cfg)
    task, evaluator = build_task(cfg, splits), build_evaluator(cfg, splits.num_classes, device)
    loader, prepare = make_data_loader(cfg, "test", splits), build_prepare(cfg, splits, device)
    assert splits.test is not None
    arrays = splits.test.arrays()
    assert arrays is not None
    (images, targets), size = arrays, cfg.TEST.IMS_PER_BATCH

    def ours() -> float:
        return evaluate(task, loader, prepare, evaluator, device=device)["top1"]

    @torch.no_grad()
    def plain() -> float:
        matches = torch.zeros((), dtype=torch.int64)
        for start in range(0, len(images), size):
            inputs = images[start : start + size].float().mul_(1 / (255 * STD)).sub_(MEAN / STD)
            matches += (task.model(inputs).argmax(dim=1) == targets[start : start + size]).sum()
        return matches.item() / len(images)

    assert abs(ours() - plain()) < 1e-3, "both give the same score, to the rounding of a tie"
    pairs = [(seconds(ours), seconds(plain)) for _ in range(args.rounds)]
    mine, theirs = zip(*pairs, strict=True)
    milliseconds = {"ours_ms": 1e3 * statistics.median(mine), "plain_ms": 1e3 * statistics.median(theirs)}
    result = {"ratio": ratio(mine, theirs), "spread": spread(mine, theirs), "rounds": args.rounds, **milliseconds}
    if args.peers:
        from benchmarks import evaluation_peers

        result["peers"] = evaluation_peers.measure_all()
    show(result, args.json)


if __name__ == "__main__":
    main()
