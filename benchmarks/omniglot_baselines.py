"""What is reached on Omniglot's unseen alphabets without learning: by the pixels themselves and by the untrained network.

    python -m benchmarks.omniglot_baselines [--json] [--seeds 3] [KEY VALUE ...]

The test split, the size of the images, the distance and the scores are those of `configs/train_omniglot_triplet.yml`, with
the keys given here, such as DATASETS.ROOT. Pixels are compared as the network sees them, normalised; the network is in
evaluation mode with the weights that a seed starts from.
"""

from __future__ import annotations

import argparse
import statistics

import torch
from torch import Tensor, nn

import config
from benchmarks.common import ROOT, show
from data import Splits, build_splits
from engine.build import build_task
from engine.evaluators.build import build_evaluator, make_scorer
from engine.randomness import seed_everything
from engine.task import Task

RECIPE = ROOT / "configs" / "train_omniglot_triplet.yml"
SCORES = ("rank1", "mAP")


class Pixels(nn.Module):
    """A model that learns nothing: the image is the feature."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """B x C x H x W -> "feature" B x (C x H x W)."""
        return {"feature": image.flatten(1)}


def main() -> None:
    """Scores and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object to stdout and nothing else")
    parser.add_argument("--seeds", type=int, default=3, help="untrained networks; mean and standard deviation are taken")
    parser.add_argument("keys", nargs="*", metavar="KEY VALUE", help="config keys over those of the recipe")
    args = parser.parse_args()
    cfg = config.load(config.parse_arguments(["--config-file", str(RECIPE), *args.keys]))
    splits = build_splits(cfg)
    untrained = []
    for seed in range(args.seeds):
        seed_everything(seed)
        untrained.append(score(cfg, splits, build_task(cfg, splits)))
    found = {"pixels": score(cfg, splits, Task(Pixels(), nn.Identity(), open_set=True))}
    found["untrained"] = {name: statistics.mean(one[name] for one in untrained) for name in SCORES}
    if args.seeds > 1:
        found["untrained_std"] = {name: statistics.stdev(one[name] for one in untrained) for name in SCORES}
    flat = {f"{who}_{name}": value for who, scores in found.items() for name, value in scores.items()}
    show({**flat, "ratio": flat["untrained_rank1"] / flat["pixels_rank1"]}, args.json)


def score(cfg: config.Config, splits: Splits, task: Task) -> dict[str, float]:
    """rank1 and mAP of a task on the test split, as tools/test_net.py has them."""
    device = torch.device("cpu")
    scores = make_scorer(cfg, task, splits, "test", device, build_evaluator(cfg, splits.num_classes, device))()
    return {name: scores[name] for name in SCORES}


if __name__ == "__main__":
    main()
