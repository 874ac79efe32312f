"""The factory of `tools/analyze.py speed`: something to time, and the changes that apply to a config."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

import config
from config import Config
from data import Splits, channels_seen
from data.dataset import Part
from data.loaders.threads import default_threads
from engine.analysis.speed import Change, Speed
from engine.analysis.turns import Bench
from engine.build import build_task, build_trainer
from engine.evaluators.build import build_evaluator, make_scorer
from engine.named_weights import load_start_weights, name_runs
from engine.randomness import seed_everything
from engine.trainer import Trainer

LITTLE = 0.05  # share of a step below which nothing is tried to make it less: no gain would be clear
WAITS = 0.15  # share of a step spent waiting for data from which other loaders are tried first
SAME, ROUNDING = "results stay the same", "rounding differs"


def build_bench(
    cfg: Config, splits: Splits, device: torch.device, trainer: Trainer | None = None, *, batches: int = 0, threads: int = 0
) -> Bench:
    """A bench of a config on data that are there already; `trainer` where that is as well.

    Args:
        batches: of the validation split (or of the test's), that its `evaluate` goes through; 0: it has none.

    Raises:
        UserError: the config does not fit itself, the data or the device.
    """
    if trainer is None:
        derived = {"MODEL.NUM_CLASSES": splits.num_classes, "MODEL.IN_CHANNELS": channels_seen(cfg, splits.train)}
        cfg = config.freeze_with(cfg, {**derived, **name_runs(cfg)})
        seed_everything(cfg.SEED, cfg.DETERMINISTIC)
        task = build_task(cfg, splits)
        load_start_weights(cfg, task)
        trainer = build_trainer(cfg, task, splits, device)
    split = next((name for name in ("val", "test") if splits.get(name) is not None), "")
    part = splits.get(split) if split and batches else None
    if part is None:
        return Bench(trainer, threads=threads)
    samples = min(batches * cfg.TEST.IMS_PER_BATCH, len(part))
    few = dataclasses.replace(splits, **{split: Part(part, range(samples))})
    scorer = make_scorer(cfg, trainer.task, few, split, device, build_evaluator(cfg, splits.num_classes, device))
    return Bench(trainer, scorer, batches=-(-samples // cfg.TEST.IMS_PER_BATCH), samples=samples, threads=threads)


def make_builder(
    load: Callable[[Sequence[tuple[str, str]]], Config], splits: Splits, device: torch.device
) -> Callable[[Change], Bench]:
    """A function that builds the bench of a change; `load(pairs)` is the config with these pairs on its command line."""
    return lambda change: build_bench(load(change.pairs), splits, device, threads=change.threads)


def changes_for(cfg: Config, trainer: Trainer, speed: Speed) -> tuple[list[Change], list[str]]:
    """What is worth trying for a config that was measured, what is likely to help first; and what is not, with why."""
    whole = speed.step("train")
    data, steps = max(speed.waiting, speed.step("load") / whole), speed.step("compute") / whole
    loaders = _loaders(cfg, trainer) if data >= LITTLE else []
    models = [*_models(cfg, trainer), *_threads(trainer), *_batches(cfg, trainer)] if steps >= LITTLE else []
    left_out = []
    if data < LITTLE:
        left_out.append(f"another loader (loading takes {data:.1%} of a step)")
    if steps < LITTLE:
        left_out.append(f"a faster model (it takes {steps:.1%} of a step)")
    slow = [change for change in models if change.compiles]
    quick = [change for change in models if not change.compiles]
    order = loaders + quick if speed.limit == "loader" or speed.waiting > WAITS else quick + loaders
    return [*order, *slow], left_out


def _loaders(cfg: Config, trainer: Trainer) -> list[Change]:
    """Other loaders than the one there is, and more of its threads or workers."""
    loader: Any = trainer.loader
    cores, has = default_threads(), (loader.kind, getattr(loader, "threads", getattr(loader, "workers", 0)))
    wanted = [("auto" if trainer.device.type == "cuda" else "memory", 0)] if loader.dataset.arrays() is not None else []
    wanted += [("threads", cores), ("threads", 2 * cores), ("processes", cores), ("processes", 2 * cores)]
    if not loader.dataset.in_threads and loader.dataset.arrays() is None:
        wanted = [(kind, count) for kind, count in wanted if kind != "threads"]
    if loader.dataset.arrays() is not None:  # nothing waits for a disk: more than there are cores gain nothing
        wanted = [(kind, count) for kind, count in wanted if count <= cores]
    changes = []
    for kind, count in wanted:
        if (kind, count) != has:
            pairs = [("DATALOADER.LOADER", kind)] if kind != cfg.DATALOADER.LOADER else []
            pairs += [("DATALOADER.NUM_WORKERS", str(count))] if count and count != cfg.DATALOADER.NUM_WORKERS else []
            changes.append(Change(tuple(pairs), SAME))
    return [change for change in changes if change.pairs]


def _models(cfg: Config, trainer: Trainer) -> list[Change]:
    """Faster ways to compute the same, or nearly."""
    changes, solver, model = [], cfg.SOLVER, trainer.task.model
    if not cfg.MODEL.CHANNELS_LAST and any(isinstance(module, nn.Conv2d) for module in model.modules()):
        changes.append(Change((("MODEL.CHANNELS_LAST", "true"),), ROUNDING))
    given = dict(solver.OPTIMIZER_ARGS)
    if given.get("fused") is False or given.get("foreach") is not None:
        value = {**{k: v for k, v in given.items() if k != "foreach"}, "fused": True}
        changes.append(Change((("SOLVER.OPTIMIZER_ARGS", json.dumps(value)),), ROUNDING))
    if cfg.MODEL.ACTIVATION_CHECKPOINTING:
        changes.append(Change((("MODEL.ACTIVATION_CHECKPOINTING", "false"),), "takes more memory"))
    if solver.ACCUMULATE > 1:
        changes.append(Change((("SOLVER.ACCUMULATE", "1"),), "takes more memory; batch normalisation sees larger batches"))
    if solver.PRECISION == "fp32":
        if trainer.device.type == "cuda" and cfg.MODEL.MATMUL_PRECISION in ("", "highest"):
            changes.append(Change((("MODEL.MATMUL_PRECISION", "high"),), "fewer digits in products (TF32)", same=False))
        changes.append(Change((("SOLVER.PRECISION", "bf16"),), "fewer digits (bf16): compare the score", same=False))
    if not cfg.MODEL.COMPILE:
        changes.append(Change((("MODEL.COMPILE", "true"),), ROUNDING, compiles=True))
    return changes


def _threads(trainer: Trainer) -> list[Change]:
    """On a CPU: computing with one thread, which small models gain by, or with all."""
    has, cores = torch.get_num_threads(), default_threads()
    if trainer.device.type != "cpu":
        return []
    return [Change((), f"{ROUNDING}; write it before the command", threads=n) for n in sorted({1, cores} - {has})]


def _batches(cfg: Config, trainer: Trainer) -> list[Change]:
    """Twice and four times the batch, where the data set has that many."""
    batch, loader = cfg.SOLVER.IMS_PER_BATCH, trainer.loader
    largest = len(loader.dataset)  # type: ignore[attr-defined]
    rate = "the rate follows by SOLVER.LR_SCALING" if cfg.SOLVER.LR_SCALING else "find its rate with lr-find"
    return [
        Change((("SOLVER.IMS_PER_BATCH", str(n * batch)),), f"learns otherwise; {rate}", same=False)
        for n in (2, 4)
        if n * batch <= largest
    ]
