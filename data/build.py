"""The data factories: data sets and their splits, the loader of a split, what prepares its batches."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from config import Config
from data.dataset import Dataset, Joined
from data.datasets import factory_of
from data.identities import JoinedIdentities, fold_identities, limited_identities, split_identities
from data.identity_checks import check_identities
from data.loaders.build import choose_loader, training_plan
from data.loaders.loader import Fetcher, Loader
from data.loaders.plan import EvaluationPlan
from data.mixing import Mixing
from data.prepare import Prepare
from data.randomness import ORDER, generator
from data.splits import fold, stratified
from data.transforms.build import asked_size, asked_transforms, build_transforms, channels_seen, pixel_statistics
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.data")


@dataclass(frozen=True)
class Splits:
    """The data of a run; `val` and `test` are None where there are none."""

    train: Dataset
    val: Dataset | None
    test: Dataset | None

    @property
    def classes(self) -> list[str]:
        """Names in the order of the targets; empty for a regression."""
        return list(self.train.classes)

    @property
    def num_classes(self) -> int:
        """Width of the model's output: the number of classes, or 1 for a regression."""
        return len(self.train.classes) or 1

    def get(self, split: str) -> Dataset | None:
        """The data set called train, val or test."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]

    def text_of(self, target: Any) -> str:
        """A target or prediction for people: its class, classes parted by |, or the number."""
        if self.train.target_kind == "value":
            return str(target)
        return "|".join(self.classes[int(n)] for n in (target if isinstance(target, tuple) else (target,)))


def build_splits(cfg: Config) -> Splits:
    """Training, validation and test data as the config names them.

    Raises:
        UserError: an unknown name, missing or empty data, classes that do not fit each other or MODEL.NUM_CLASSES.
    """
    train = _named(cfg, cfg.DATASETS.TRAIN, "TRAIN", train=True)
    if train is None:
        raise UserError("DATASETS.TRAIN names no data; such as digits, or image_folder:PATH")
    test = _named(cfg, cfg.DATASETS.TEST or cfg.DATASETS.TRAIN, "TEST", train=False)
    val = _named(cfg, cfg.DATASETS.VAL, "VAL", train=False)
    seed = cfg.DATASETS.SPLIT_SEED
    if test is None:  # a set without a test part of its own: hold one out
        train, test = _hold_out(train, 0.2, seed)
    if cfg.DATASETS.FOLDS:
        train, val = _fold(train, cfg.DATASETS.FOLDS, cfg.DATASETS.FOLD, seed)
    elif val is None and cfg.DATASETS.VAL_FRACTION > 0:
        train, val = _hold_out(train, cfg.DATASETS.VAL_FRACTION, seed)
    test, val = _limited(cfg, test), _limited(cfg, val)
    splits = Splits(_limited(cfg, train) or train, val, test)
    _check(cfg, splits)
    return splits


def _hold_out(whole: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """(kept, held out): samples of each class, or whole identities."""
    if whole.open_set:
        return split_identities(whole, fraction, seed)
    kept, held_out = stratified(whole.targets, fraction, seed)
    return whole.part(kept), whole.part(held_out) if len(held_out) else None


def _fold(whole: Dataset, folds: int, number: int, seed: int) -> tuple[Dataset, Dataset]:
    """(kept, part `number` of `folds`): samples of each class, or whole identities."""
    if whole.open_set:
        return fold_identities(whole, folds, number, seed)
    try:
        kept, held_out = fold(whole.targets, folds, number, seed)
    except ValueError as error:
        raise UserError(
            f"DATASETS.FOLDS {folds}: the {len(whole)} samples of {whole.name} cannot be shared out ({error}); take fewer"
        ) from error
    return whole.part(kept), whole.part(held_out)


def mixes(cfg: Config) -> bool:
    """Whether training batches are mixed, so that their targets are soft."""
    return cfg.INPUT.MIX_PROB > 0 and (cfg.INPUT.MIXUP_ALPHA > 0 or cfg.INPUT.CUTMIX_ALPHA > 0)


def _limited(cfg: Config, part: Dataset | None) -> Dataset | None:
    """At most DATASETS.LIMIT samples, drawn: the first ones of a folder would all be of one class."""
    limit = cfg.DATASETS.LIMIT
    if part is None or not limit or len(part) <= limit:
        return part
    if part.open_set:
        return limited_identities(part, limit, cfg.DATASETS.SPLIT_SEED)
    return part.part(sorted(generator(cfg.DATASETS.SPLIT_SEED, ORDER, 0).permutation(len(part))[:limit].tolist()))


def _named(cfg: Config, names: Sequence[str], key: str, train: bool) -> Dataset | None:
    parts: list[Dataset] = []
    without: list[str] = []  # those that have no test part of their own
    for name in names:
        factory = factory_of(name)
        facts = {"root": cfg.DATASETS.ROOT, "seed": cfg.DATASETS.SPLIT_SEED}
        facts |= {key: get() for key, get in _asked_for(cfg).items() if key in inspect.signature(factory).parameters}
        part = factory(**facts, train=train)
        if part is None and (key != "TEST" or cfg.DATASETS.TEST):  # named for this very split: read whole
            part = factory(**facts, train=True)
        if part is None:
            without.append(name)
            continue
        if len(part) == 0:
            raise UserError(f"DATASETS.{key}: {name} has no samples")
        parts.append(_labelled(cfg, part))
    if parts and without:  # holding out samples of all would leave published tests unused
        raise UserError(
            f"DATASETS.{key}: {', '.join(without)} has no test part and {', '.join(part.name for part in parts)} has one; "
            "name the test sets in DATASETS.TEST"
        )
    if len(parts) > 1 and all(part.open_set for part in parts):
        return JoinedIdentities(parts)
    for other in parts[1:]:
        if list(other.classes) != list(parts[0].classes) or other.target_kind != parts[0].target_kind:
            raise UserError(f"DATASETS.{key}: {other.name} and {parts[0].name} have different classes or kinds of targets")
    return Joined(parts) if len(parts) > 1 else parts[0] if parts else None


def _asked_for(cfg: Config) -> dict[str, Callable[[], Any]]:
    """What only some factories take, by the names of their parameters; a key that none takes is not read."""
    return {
        "combine_all": lambda: cfg.DATASETS.COMBINE_ALL,
        "cache_gb": lambda: cfg.DATASETS.CACHE_GB,
        "window": lambda: cfg.DATASETS.SHARD_WINDOW,
        "skip_bad": lambda: cfg.DATALOADER.BAD_SAMPLES == "skip",
        "max_bad": lambda: cfg.DATALOADER.MAX_BAD,
    }


def _labelled(cfg: Config, part: Dataset) -> Dataset:
    """The samples that have a label; the others are bad samples that are known before anything was read."""
    without = [index for index, target in enumerate(part.targets) if target is None]
    if not without:
        return part
    named = ", ".join(f"{part.path(index)} (sample {index})" for index in without[:5]) + ", ..." * (len(without) > 5)
    said = f"{len(without)} of {len(part)} samples of {part.name} have no label: {named}"
    if cfg.DATALOADER.BAD_SAMPLES == "error":
        raise UserError(f"{said}; label or remove them, or set DATALOADER.BAD_SAMPLES skip")
    if len(without) > cfg.DATALOADER.MAX_BAD * len(part):
        raise UserError(f"{said}; that is more than DATALOADER.MAX_BAD {cfg.DATALOADER.MAX_BAD:g} allows")
    LOG.warning("left out: %s", said)
    return part.part([index for index, target in enumerate(part.targets) if target is not None])


def _check(cfg: Config, splits: Splits) -> None:
    wanted = cfg.MODEL.NUM_CLASSES
    if wanted and wanted != splits.num_classes:
        raise UserError(
            f"MODEL.NUM_CLASSES is {wanted} but {splits.train.name} has {splits.num_classes} classes; "
            "leave it 0 to take the data set's"
        )
    for name in ("val", "test"):
        other = splits.get(name)
        if other is not None and other.target_kind != splits.train.target_kind:
            raise UserError(
                f"DATASETS.{name.upper()}: a target of {other.name} is a {other.target_kind}, one of the training set a "
                f"{splits.train.target_kind}; they must be of one kind"
            )
        if other is not None and not other.open_set and list(other.classes) != list(splits.train.classes):
            raise UserError(
                f"DATASETS.{name.upper()}: {other.name} has the classes {list(other.classes)[:5]}, the training set "
                f"{splits.classes[:5]}; they must be the same, in the same order"
            )
    if splits.train.open_set:
        check_identities(splits.train, {"val": splits.val, "test": splits.test})


def make_data_loader(
    cfg: Config,
    split: str,
    splits: Splits,
    *,
    rank: int = 0,
    world_size: int = 1,
    train: bool | None = None,
    device: torch.device | None = None,
) -> Loader:
    """The loader of "train", "val" or "test"; `train` False reads the training split in order, untransformed.

    Its batches lie on `device` where that is a CUDA device, else on the host.

    Raises:
        UserError: the split does not exist, a step's samples cannot be split as asked, or sampler or transforms do not
            fit the data.
    """
    dataset = splits.get(split)
    if dataset is None:
        raise UserError(f"there is no {split} split; set DATASETS.{split.upper()}" + " or VAL_FRACTION" * (split == "val"))
    training = split == "train" if train is None else train
    transforms = build_transforms(cfg, splits.train, training)
    fetcher = Fetcher(dataset, transforms, cfg.SEED, cfg.DATALOADER.BAD_SAMPLES == "skip")
    if not training:
        return choose_loader(cfg, EvaluationPlan(len(dataset), cfg.TEST.IMS_PER_BATCH, rank, world_size), fetcher, device)
    if transforms:
        _shape_of_first(fetcher)  # so that a transform that cannot take these images says so before there is a run
    loader = choose_loader(cfg, training_plan(cfg, dataset, rank, world_size), fetcher, device)
    loader.says_position = mixes(cfg)
    return loader


def build_prepare(cfg: Config, splits: Splits, device: torch.device, *, train: bool = False) -> Prepare:
    """What normalises batches on `device`, with INPUT.PIXEL_MEAN and PIXEL_STD or the training set's own.

    Grey images are repeated to three channels where MODEL.IN_CHANNELS is 3. With `train` it also mixes the batches of the
    training loader, where INPUT.MIXUP_ALPHA or CUTMIX_ALPHA say so.

    Raises:
        UserError: pixel values or channels that do not fit, or mixing where targets are no classes.
    """
    mean, std = pixel_statistics(cfg, splits.train)
    return Prepare(
        mean,
        std,
        device,
        repeat=channels_seen(cfg, splits.train) // splits.train.channels,
        size=image_size(cfg, splits),
        channels_last=cfg.MODEL.CHANNELS_LAST,
        mixing=_mixing(cfg, splits) if train and mixes(cfg) else None,
    )


def _mixing(cfg: Config, splits: Splits) -> Mixing:
    if splits.train.target_kind == "value":
        raise UserError(
            f"INPUT.MIXUP_ALPHA and INPUT.CUTMIX_ALPHA mix classes, and the targets of {splits.train.name} are values; "
            "set both to 0"
        )
    return Mixing(
        splits.num_classes,
        mixup_alpha=cfg.INPUT.MIXUP_ALPHA,
        cutmix_alpha=cfg.INPUT.CUTMIX_ALPHA,
        prob=cfg.INPUT.MIX_PROB,
        seed=cfg.SEED,
    )


def image_size(cfg: Config, splits: Splits, *, training: bool = True) -> tuple[int, int]:
    """(height, width) in pixels that the model sees in training (or evaluation), from the first sample as it comes out."""
    size, entries = asked_size(cfg, training), asked_transforms(cfg, training)
    if size and (training or not entries):
        return size
    arrays = splits.train.arrays()
    if arrays is not None and not entries:
        return (arrays[0].shape[-2], arrays[0].shape[-1])
    return _shape_of_first(Fetcher(splits.train, build_transforms(cfg, splits.train, training), cfg.SEED, skip_bad=True))


def _shape_of_first(fetcher: Fetcher) -> tuple[int, int]:
    """(height, width) of the first sample that can be read, transformed."""
    fetcher = Fetcher(fetcher.dataset, fetcher.transforms, fetcher.seed, skip_bad=True)
    complaints = []
    for index in range(min(len(fetcher.dataset), 100)):
        batch, bad = fetcher.fetch(0, (numpy.array([index]), numpy.array([index])))
        if batch is not None:
            return (batch["image"].shape[-2], batch["image"].shape[-1])
        complaints += bad
    raise UserError(f"{fetcher.dataset.name}: none of its first {len(complaints)} images can be read: {complaints[0][1]}")
