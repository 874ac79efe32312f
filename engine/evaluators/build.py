"""The factories of evaluation: an evaluator by name, and a function that scores a task on a split."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from config import Config
from data import Splits, build_prepare, make_data_loader
from data.build import image_size, mixes
from data.identities import source_names
from engine import distributed
from engine.evaluators import EVALUATORS
from engine.inference import Evaluator, evaluate
from engine.retrieval.checks import check_queries
from engine.sharding import gathered
from engine.task import Task
from engine.trainer import AUTOCAST
from engine.views import AveragedTask, check_views
from modeling.losses.outputs import check_needs
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.engine")


def build_evaluator(cfg: Config, num_classes: int, device: torch.device) -> Evaluator:
    """The evaluator that TEST.EVALUATOR names."""
    factory, further = EVALUATORS.get(cfg.TEST.EVALUATOR), {}
    if "protocol" in inspect.signature(factory).parameters:
        further = {
            "distance": cfg.TEST.DISTANCE,
            "rerank": cfg.TEST.RERANK,
            "protocol": cfg.TEST.PROTOCOL,
            "seed": cfg.DATASETS.SPLIT_SEED,
        }
    evaluator: Evaluator = factory(num_classes=num_classes, device=device, **further)
    return evaluator


def check_evaluation(cfg: Config, task: Task, splits: Splits, device: torch.device) -> None:
    """What validation and test would find wrong, found before there is a run.

    Raises:
        UserError: an unknown evaluator, score or view, or targets that do not fit.
    """
    evaluator = build_evaluator(cfg, splits.num_classes, device)
    check_needs(f"TEST.EVALUATOR {cfg.TEST.EVALUATOR}", getattr(evaluator, "needs", None), cfg.MODEL.NAME, task.model)
    tell_sources(evaluator, splits, "val")
    primary_metric(cfg, evaluator.compute())
    check_targets(cfg, splits, task.loss, evaluator)
    for said in check_ranking(splits, ["val", "test"]):
        LOG.warning("%s", said)
    with_views(cfg, task, splits, evaluator)


def make_scorer(
    cfg: Config, task: Task, splits: Splits, split: str, device: torch.device, evaluator: Evaluator
) -> Callable[..., dict[str, float]]:
    """A function that evaluates `task` on a split, and passes `on_batch` on."""
    ranks = {"rank": distributed.rank(), "world_size": distributed.world_size()}
    loader = make_data_loader(cfg, split, splits, **ranks, train=False, device=device)
    prepare = build_prepare(cfg, splits, device)
    autocast = AUTOCAST.get(cfg.SOLVER.PRECISION)
    check_targets(cfg, splits, task.loss, evaluator)
    check_ranking(splits, [split])
    tell_sources(evaluator, splits, split)
    judge = with_views(cfg, task, splits, evaluator)

    def score(on_batch: Callable[..., Any] | None = None) -> dict[str, float]:
        loader.set_position(0, 0)
        with gathered(task):
            return evaluate(judge, loader, prepare, evaluator, device=device, autocast=autocast, on_batch=on_batch)

    return score


def tell_sources(evaluator: Evaluator, splits: Splits, split: str) -> None:
    """Gives an evaluator that has scores for each source of a split their names."""
    dataset = splits.get(split)
    if hasattr(evaluator, "sources") and dataset is not None:
        evaluator.sources = source_names(dataset)


def with_views(cfg: Config, task: Task, splits: Splits, evaluator: Evaluator) -> nn.Module:
    """The task that is evaluated: over the views of TEST.AUGMENT, where there are some."""
    if not cfg.TEST.AUGMENT:
        return task
    check_views(cfg.TEST.AUGMENT, evaluator, image_size(cfg, splits, training=False))
    return AveragedTask(task, cfg.TEST.AUGMENT, getattr(evaluator, "averages", ""))


def primary_metric(cfg: Config, scores: dict[str, float]) -> str:
    """The bare name of the score that selects: TEST.PRIMARY_METRIC, or the evaluator's first.

    Raises:
        UserError: the evaluator gives no such score.
    """
    wanted = cfg.TEST.PRIMARY_METRIC.rpartition("/")[2]
    if wanted and wanted not in {*scores, "loss"}:
        known = list(scores)
        if getattr(EVALUATORS.get(cfg.TEST.EVALUATOR), "target_kinds", ()) != ("identity",):  # see check_targets
            known.append("loss")
        raise UserError(f"TEST.PRIMARY_METRIC {wanted!r}: the evaluator {cfg.TEST.EVALUATOR} gives {', '.join(known)}")
    return wanted or next(iter(scores))


def check_ranking(splits: Splits, names: Sequence[str]) -> list[str]:
    """Warnings on the queries of the splits called `names`, where there are identities to find.

    Raises:
        UserError: a split that cannot be scored.
    """
    warnings = []
    for name in names:
        part = splits.get(name)
        if part is not None and part.open_set:
            warnings += check_queries(f"the {name} split of {part.name}", part.targets, part.facts, part.path)
    return warnings


def check_targets(cfg: Config, splits: Splits, loss: nn.Module, evaluator: Evaluator) -> None:
    """Loss and evaluator have to be for the data's kind of target, and for soft ones where batches are mixed.

    Raises:
        UserError: they are not.
    """
    kind, train = splits.train.target_kind, splits.train
    has, takes = {
        "class": ("one class a sample", "LOSS.NAME cross_entropy and TEST.EVALUATOR classification"),
        "labels": ("any number of classes a sample", "LOSS.NAME binary and TEST.EVALUATOR multilabel"),
        "value": ("values, no classes", "LOSS.NAME mse and TEST.EVALUATOR regression"),
        "identity": ("identities", "LOSS.NAME triplet and TEST.EVALUATOR retrieval"),
    }[kind]
    for key, name, part in (("LOSS.NAME", cfg.LOSS.NAME, loss), ("TEST.EVALUATOR", cfg.TEST.EVALUATOR, evaluator)):
        if kind not in getattr(part, "target_kinds", (kind,)):
            raise UserError(f"{key} {name} is not for the targets of {train.name}: {has}; take {takes}")
    if kind == "identity" and cfg.TEST.PRIMARY_METRIC.rpartition("/")[2] == "loss":
        raise UserError("TEST.PRIMARY_METRIC loss: there is none on identities that were not trained on; take rank1 or mAP")
    if mixes(cfg) and kind != "value" and not getattr(loss, "soft_targets", False):
        raise UserError(
            f"INPUT.MIXUP_ALPHA and INPUT.CUTMIX_ALPHA give soft targets, which LOSS.NAME {cfg.LOSS.NAME} does not take; "
            "set both to 0 or take cross_entropy"
        )
