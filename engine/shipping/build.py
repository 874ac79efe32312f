"""A run's best model with all that an image needs on its way into it, without the data that it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import Config, freeze_with
from data import Splits, build_prepare, build_splits, make_data_loader
from data.build import image_size
from data.dataset import Dataset, Sample
from data.datasets.image_folder import ImageFiles
from data.loaders.loader import Loader
from data.prepare import Prepare
from data.transforms.build import build_transforms
from engine.build import build_task, check_precision
from engine.checkpoint import load_checkpoint
from engine.evaluators.build import build_evaluator, with_views
from engine.named_weights import test_task
from engine.prepare import choose_device
from engine.task import Outputs, Task
from engine.trainer import AUTOCAST
from engine.views import AveragedTask
from utils.errors import NoUsableCheckpoint, UserError


@dataclass(frozen=True)
class Trained:
    """What `load_trained` gives.

    Attributes:
        task: the model with its best weights, and its loss, in evaluation mode on `device`.
        ask: normalised images B x C x H x W -> the outputs that are judged, over the views of TEST.AUGMENT.
        views: TEST.AUGMENT.
        kind: what is predicted: class, labels, value or identity.
        classes: names in the order of the outputs; empty for values.
        channels: of an image as it is read: 1 or 3.
        transforms: of a test image.
        size: (height, width) that they give, pixels.
        batch: TEST.IMS_PER_BATCH.
        names: what the config calls model and loss.
    """

    task: Task
    ask: Callable[[Tensor], Outputs]
    views: tuple[str, ...]
    kind: str
    classes: list[str]
    channels: int
    transforms: list[Any]
    size: tuple[int, int]
    prepare: Prepare
    autocast: torch.dtype | None
    device: torch.device
    batch: int
    seed: int
    names: tuple[str, str]
    weights: Path
    splits: Splits
    cfg: Config


def load_trained(cfg: Config, weights: Path, *, with_data: bool = False) -> Trained:
    """The model of `cfg` with the weights of a file.

    Args:
        with_data: reads the data set even where the weights' file says all that is needed.

    Raises:
        UserError: weights that do not fit, images that are none (a table of numbers), or an evaluator that does not say
            what is predicted.
        NoUsableCheckpoint: the file is damaged.
    """
    facts = None if with_data else _facts(weights)
    splits = build_splits(cfg) if facts is None else Splits(facts, None, None)
    cfg = _any_size(cfg, splits, facts)
    if splits.train.channels not in (1, 3):
        raise UserError(f"{weights}: trained on tables of {splits.train.channels} columns, not on images")
    device = choose_device(cfg.MODEL.DEVICE)
    evaluator = build_evaluator(cfg, splits.num_classes, device)
    kinds = getattr(evaluator, "target_kinds", ())
    if not kinds:
        raise UserError(
            f"TEST.EVALUATOR {cfg.TEST.EVALUATOR} does not say what is predicted; name one that does for this command, such as "
            "TEST.EVALUATOR classification"
        )
    if facts is not None:
        facts.open_set = kinds[0] == "identity"
    check_precision(cfg, device)
    task, _ = test_task(cfg, splits, weights, build_task)
    judge = with_views(cfg, task, splits, evaluator)
    return Trained(
        task=task.eval(),
        ask=judge.outputs if isinstance(judge, AveragedTask) else task.model,
        views=tuple(cfg.TEST.AUGMENT),
        kind=kinds[0],
        classes=splits.classes,
        channels=splits.train.channels,
        transforms=build_transforms(cfg, splits.train, training=False),
        size=image_size(cfg, splits, training=False),
        prepare=build_prepare(cfg, splits, device),
        autocast=AUTOCAST.get(cfg.SOLVER.PRECISION),
        device=device,
        batch=cfg.TEST.IMS_PER_BATCH,
        seed=cfg.SEED,
        names=(cfg.MODEL.NAME, cfg.LOSS.NAME),
        weights=weights,
        splits=splits,
        cfg=cfg,
    )


def load_for_export(cfg: Config, weights: Path) -> Trained:
    """The same on the CPU, in float32, with the data whose samples the exported files are checked by.

    Raises:
        UserError: as `load_trained`; also where the data is not there.
    """
    plain = {"MODEL.DEVICE": "cpu", "SOLVER.PRECISION": "fp32", "MODEL.ACTIVATION_CHECKPOINTING": False}
    return load_trained(freeze_with(cfg, plain), weights, with_data=True)


def sample_images(trained: Trained, count: int) -> Tensor:
    """The first images of the run's test data (or else of its validation or training data) as the model is given them:
    N x C x H x W, before they are normalised."""
    name = next(name for name in ("test", "val", "train") if trained.splits.get(name) is not None)
    cfg = freeze_with(trained.cfg, {"TEST.IMS_PER_BATCH": count})
    loader = make_data_loader(cfg, name, trained.splits, train=False)
    images: Tensor = next(iter(loader))["image"]
    return images.clone()


def build_reading(
    cfg: Config, splits: Splits, files: Sequence[str], device: torch.device
) -> tuple[Loader, Prepare, torch.dtype | None]:
    """(loader, prepare, autocast): any image files, in order, read and prepared as the images of `splits` are in a test.

    What cannot be read is left out. Images of any size are resized, also where those of the data set needed no resizing.
    """
    train = splits.train
    images = ImageFiles("images", list(files), [0.0] * len(files), [], train.channels)
    images.mean, images.std = list(train.mean), list(train.std)
    changes: dict[str, Any] = {"DATALOADER.LOADER": "auto", "DATALOADER.BAD_SAMPLES": "skip", "DATALOADER.MAX_BAD": 1.0}
    if not cfg.INPUT.TRANSFORMS_TEST:
        changes["INPUT.SIZE_TEST"] = image_size(cfg, splits, training=False)
    loader = make_data_loader(freeze_with(cfg, changes), "test", Splits(images, None, images), train=False)
    return loader, build_prepare(cfg, splits, device), AUTOCAST.get(cfg.SOLVER.PRECISION)


class _Described(Dataset):
    """What a weights' file says of the training set. Its one sample is a black image, of a test image's size."""

    name = "the training set"
    targets = (0,)

    def __init__(self, content: dict[str, Any]) -> None:
        self.classes, known = list(content["classes"]), content["preprocessing"]
        self.channels, self.height, self.width = content["test_image"]
        self.mean, self.std, self.seen = known["mean"], known["std"], known["size"]

    def __getitem__(self, index: int) -> Sample:
        image = torch.zeros(self.channels, self.height, self.width, dtype=torch.uint8)
        return {"image": image, "target": 0, "index": index}


def _facts(weights: Path) -> _Described | None:
    """None where the file is another's or an older one, which does not say enough."""
    try:
        return _Described(load_checkpoint(weights))
    except (NoUsableCheckpoint, KeyError, TypeError, ValueError):
        return None


def _any_size(cfg: Config, splits: Splits, facts: _Described | None) -> Config:
    """Images of any size are resized, also where those of the data set needed no resizing."""
    changes: dict[str, Any] = {}
    if not cfg.INPUT.SIZE_TRAIN or tuple(cfg.INPUT.SIZE_TRAIN) == (0,):
        changes["INPUT.SIZE_TRAIN"] = tuple(facts.seen) if facts is not None else image_size(cfg, splits)
    if not cfg.INPUT.TRANSFORMS_TEST:
        changes["INPUT.SIZE_TEST"] = image_size(cfg, splits, training=False)
    return freeze_with(cfg, changes)
