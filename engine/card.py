"""The engine's rows of the run card: data, model, batch arithmetic, steps, rate, seed."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from typing import Any

import torch

import tracking
from config import Config
from data import Dataset, Splits, channels_seen
from data.dataset import Joined
from data.identities import source_names
from data.identity_checks import describe_identities
from engine import distributed, sharding
from engine.evaluators.build import build_evaluator, tell_sources
from engine.trainer import Trainer
from solver import describe_lr, effective_lr
from tracking.judging.claim import parse as parse_claim

LOG = logging.getLogger("fieldbook.engine")


def device_name(device: torch.device) -> str:
    """cuda:0 (NVIDIA ...), cpu, mps."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def card_facts(cfg: Config, splits: Splits, trainer: Trainer) -> list[tuple[str, str]]:
    """The rows of the run card that only the engine knows."""
    solver, ranks = cfg.SOLVER, distributed.world_size()
    parts = {name: part for name in ("train", "val", "test") if (part := splits.get(name)) is not None}
    sizes = [f"{name} {_size(part, splits.train)}" for name, part in parts.items()]
    count = f"{sum(p.numel() for p in trainer.task.model.parameters()):,} parameters"
    frozen = sum(p.numel() for p in trainer.task.model.parameters() if not p.requires_grad)
    if frozen:
        epochs = cfg.MODEL.FREEZE_EPOCHS
        count += f" ({frozen:,} frozen{f' for {epochs} epochs' if epochs else ''})"
    warmup = f", {solver.WARMUP_ITERS} steps of {solver.WARMUP_METHOD} warm-up" if solver.WARMUP_ITERS else ""
    loader: Any = trainer.loader
    formed = ", channels_last" if cfg.MODEL.CHANNELS_LAST else ""
    if cfg.MODEL.COMPILE:
        formed += ", compiled: the first steps wait for that, up to some minutes"
    channels = channels_seen(cfg, splits.train)
    grey = f"; grey, repeated to {channels} channels" if channels != splits.train.channels else ""
    classes = f"{len(splits.classes) or 'no'} {'identities to learn' if splits.train.open_set else 'classes'}{grey}"
    return [
        ("data", f"{splits.train.name}: {', '.join(sizes)}; {classes}; loader {loader.describe()}"),
        ("model", f"{cfg.MODEL.NAME}, {count}, on {device_name(trainer.device)}, {solver.PRECISION}{formed}"),
        *([("ranks", sharding.describe(trainer.task))] if sharding.is_sharded(trainer.task) else []),
        *batch_facts(solver.IMS_PER_BATCH, ranks, solver.ACCUMULATE),
        ("steps", f"{trainer.steps_per_epoch} an epoch, {trainer.total_steps} in {trainer.max_epochs} epochs"),
        ("rate", f"{solver.OPTIMIZER_NAME} at {effective_lr(cfg):g}, {solver.SCHEDULE}{warmup}; {describe_lr(cfg)}"),
        ("seed", f"{cfg.SEED} (splits {cfg.DATASETS.SPLIT_SEED})"),
    ]


def _size(part: Dataset, train: Dataset) -> str:
    """How many samples, and of which data sets where they are not as the row's first word says, or are several."""
    size = f"{len(part)} ({describe_identities(part, part is train)})" if part.open_set else str(len(part))
    names, of = source_names(part), ""
    if len(names) > 1:
        counts = Counter(part.facts["source"])
        of = ", ".join(f"{name} {counts[number]}" for number, name in enumerate(names))
    elif part.name != train.name:
        several = part.parts if isinstance(part, Joined) else []
        of = ", ".join(f"{one.name} {len(one)}" for one in several) or part.name
    return f"{size} of {of}" if of else size


def batch_facts(batch: int, ranks: int, accumulate: int) -> list[tuple[str, str]]:
    """The arithmetic of a step's samples, and a warning where they do not divide: right all the same, but uneven."""
    pieces = ranks * accumulate
    share = f"{batch // pieces}" if batch % pieces == 0 else f"{batch // pieces} or {batch // pieces + 1}"
    rows = [("batch", f"{share} per rank x {ranks} rank{'s' * (ranks != 1)} x {accumulate} accumulated = {batch} a step")]
    if batch % pieces:
        near = sorted({max(batch // pieces, 1) * pieces, (batch // pieces + 1) * pieces})
        rows.append(
            (
                "batch",
                f"WARNING {batch} samples do not divide by {pieces} (ranks x SOLVER.ACCUMULATE): each sample still counts "
                f"the same, but batches are uneven; SOLVER.IMS_PER_BATCH {' or '.join(map(str, near))} would divide",
            )
        )
    return rows


def print_card(cfg: Config, splits: Splits, trainer: Trainer, run: Any, parent: tracking.Record | None) -> None:
    """The run card, to the screen and into log.txt; a warning where the claim is about a score that the run does not give."""
    known = [f"{split}/{score}" for split in ("val", "test") for score in _scores(cfg, splits, split, trainer.device)]
    if not distributed.is_main():
        return
    width = max(min(shutil.get_terminal_size((100, 24)).columns, 120), 60)
    card = tracking.run_card(run, parent, card_facts(cfg, splits, trainer), width)
    LOG.info("%s", "\n" + card)
    claim = parse_claim(tracking.read_record(run.path).run["expect"])
    if claim is not None and claim.metric not in known and not claim.metric.startswith("train/"):
        LOG.warning("--expect: this run gives no %s; it gives %s", claim.metric, ", ".join(known))


def _scores(cfg: Config, splits: Splits, split: str, device: torch.device) -> list[str]:
    """What the run gives for a split; over ranks, so on every rank."""
    if splits.get(split) is None:
        return []
    evaluator = build_evaluator(cfg, splits.num_classes, device)
    tell_sources(evaluator, splits, split)
    return [*evaluator.compute(), *["loss"] * (not splits.train.open_set)]
