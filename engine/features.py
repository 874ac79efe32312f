"""Features of image files by a run's model: to index, cluster or compare images that are in no data set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import Config, Override
from data import build_splits
from data.build import image_size
from data.images import SUFFIXES
from engine.build import build_task, check_precision
from engine.evaluators.build import with_views
from engine.inference import evaluate
from engine.named_weights import find_trained, test_task
from engine.shipping.build import build_reading
from engine.task import Batch, Outputs, Task
from modeling.losses.outputs import entry
from utils.errors import UserError


class Features:
    """Keeps what a model says of each sample; acts as an evaluator without scores."""

    lower_is_better: frozenset[str] = frozenset()
    averages = "feature"

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all samples."""
        self._parts: list[tuple[Tensor, Tensor]] = []

    def update(self, outputs: Outputs, batch: Batch) -> None:
        """Keeps the features of a batch, B x D; copied, for a batch's memory is used again."""
        features = entry(outputs, "feature")
        self._parts.append((batch["index"].cpu().clone(), features.detach().to("cpu", torch.float32, copy=True)))

    def compute(self) -> dict[str, float]:
        """No scores."""
        return {}

    def gathered(self, width: int) -> tuple[Tensor, Tensor]:
        """Numbers of samples (N, increasing) and their features (N x width)."""
        indices = torch.cat([torch.empty(0, dtype=torch.int64), *(indices for indices, _ in self._parts)])
        features = torch.cat([torch.empty(0, width), *(features for _, features in self._parts)])
        order = indices.argsort()
        return indices[order], features[order]


def extract(
    run: str | Path, files: str | Path | Sequence[str | Path], *, folder: str | Path = "exp", overrides: Sequence[Override] = ()
) -> tuple[Tensor, list[str]]:
    """Features of image files by the best weights of a run: read, resized, normalised and compared as in its own test.

    Args:
        run: a run's folder, its name, a part of it, or last.
        files: paths, or the path of one.
        folder: where runs lie.
        overrides: of the run's config; by default on the device that the run's config names.

    Returns:
        N x D float32 on the CPU, one row for each file that could be read, in the order of `files`; and the paths of the
        others, of which a warning in the log says what is wrong with each.

    Raises:
        UserError: no such run, no weights in it, or a model that gives no features.
    """
    cfg, weights, _ = find_trained(Path(folder), str(run), overrides)
    several = [files] if isinstance(files, str | Path) else files
    return features_of(cfg, weights, [str(file) for file in several])


def features_of(cfg: Config, weights: Path, files: Sequence[str]) -> tuple[Tensor, list[str]]:
    """As `extract`, by the config and the weights of a run that was found already."""
    splits = build_splits(cfg)
    task, device = test_task(cfg, splits, weights, build_task)
    check_precision(cfg, device)
    loader, prepare, autocast = build_reading(cfg, splits, files, device)
    shape = (1, splits.train.channels, *image_size(cfg, splits, training=False))
    width = _width(task, prepare({"image": torch.zeros(shape, dtype=torch.uint8)})["image"])
    task.open_set = True  # these images have no target, so there is no loss
    kept = Features()
    judge = with_views(cfg, task, splits, kept)
    evaluate(judge, loader, prepare, kept, device=device, autocast=autocast)
    indices, features = kept.gathered(width)
    read = set(indices.tolist())
    return features, [path for number, path in enumerate(files) if number not in read]


def _width(task: Task, image: Tensor) -> int:
    """D. A plain tensor is a feature where the run was scored by it, as its evaluator takes it.

    Raises:
        UserError: the model gives none.
    """
    with torch.no_grad():
        outputs: Any = task.eval().model(image)
    feature = outputs.get("feature") if isinstance(outputs, dict) else outputs if task.open_set else None
    if not isinstance(feature, Tensor) or feature.ndim != 2:
        gives = f"a dict of {', '.join(outputs)}" if isinstance(outputs, dict) else "scores of classes or values"
        raise UserError(
            f"the model {task.names[0]} gives no features but {gives}; train one that does, such as MODEL.NAME embedding, "
            'or let its forward give a dict with the entry "feature" (B x D)'
        )
    return feature.shape[1]


def images_below(place: str | Path) -> list[str]:
    """Image files below a folder, sorted folder by folder, hidden ones left out; or the one file that it is.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    if Path(place).is_file():
        return [str(place)]
    if not Path(place).is_dir():
        raise UserError(f"{place}: no such folder or file; give a folder of images")
    found = list(walk_images(place))
    if not found:
        raise UserError(f"{place}: no images below it ({', '.join(SUFFIXES)})")
    return found


def walk_images(folder: str | Path) -> Iterator[str]:
    """The same, one after another, so that a large folder is not waited for."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = (name for name in sorted(files) if not name.startswith(".") and name.lower().endswith(SUFFIXES))
        yield from (os.path.join(where, name) for name in images)
