"""From a config to a trainer that is ready: the task, what is checked before there is a run, the optimizer, the trainer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from config import Config
from data import Splits, build_prepare, channels_seen, make_data_loader
from data.build import image_size
from engine import distributed, sharding
from engine.distillation.build import add_teacher
from engine.evaluators.build import check_evaluation
from engine.hooks import HOOKS
from engine.hooks.swa import SWAHook
from engine.hooks.thaw import ThawHook
from engine.left_out import LeftOut
from engine.prepare import check_batch_norm, check_compiler, check_test_size, prepare_model
from engine.task import Task
from engine.trainer import Trainer
from modeling import Freezing, build_loss, build_model, layer_depths
from modeling.losses.pairs import too_few_pairs
from solver import ModelSWA, effective_lr, make_average, make_lr_scheduler, make_optimizer
from tracking.mirrors.build import check_mirrors
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.engine")


def build_task(cfg: Config, splits: Splits) -> Task:
    """Model and loss, untrained, on the CPU.

    Raises:
        UserError: names or sizes that do not fit.
    """
    if cfg.MODEL.MATMUL_PRECISION:  # for the whole process; else it is as torch has it
        torch.set_float32_matmul_precision(cfg.MODEL.MATMUL_PRECISION)
    channels, classes = channels_seen(cfg, splits.train), splits.num_classes
    model = build_model(cfg, in_channels=channels, num_classes=classes, image_size=image_size(cfg, splits))
    loss = build_loss(cfg, num_classes=classes, model=model)
    return Task(model, loss, (cfg.MODEL.NAME, cfg.LOSS.NAME), open_set=splits.train.open_set)


def build_trainer(cfg: Config, task: Task, splits: Splits, device: torch.device, kind: type[Trainer] = Trainer) -> Trainer:
    """A trainer, or one of your own `kind`, without the hooks that need a run (`build_hooks`): what is wrong is said before it.

    Raises:
        UserError: whatever of data, solver and device does not fit.
    """
    check_strategy(cfg, task)
    check_device(cfg, device)
    check_hooks(cfg, task, splits, device)
    solver = cfg.SOLVER
    prepare = add_teacher(cfg, task, splits, build_prepare(cfg, splits, device, train=True), device)
    loader = make_data_loader(cfg, "train", splits, rank=distributed.rank(), world_size=distributed.world_size(), device=device)
    sharded = is_to_be_sharded(cfg)
    place = torch.device("cpu") if sharded else device  # no GPU ever holds a task whole that is to be cut
    check_batches(cfg, task.to(place), loader, splits, place)
    check_sizes(cfg, task, splits, place)
    if sharded:
        sharding.shard(task, device, solver.PRECISION)  # before the optimizer, which takes the parts
    optimizer, freezing = freeze_and_optimize(cfg, task)
    wrap = wrapping(cfg, task, device)
    wrapped = wrap()
    ema = make_average(cfg, task.model)
    trainer = kind(
        task,
        optimizer,
        lambda step: solver.BASE_LR,  # until it is known how many steps there are
        loader,
        prepare,
        device=device,
        max_epochs=solver.MAX_EPOCHS,
        max_steps=solver.MAX_STEPS,
        wrapped=wrapped,
        accumulate=solver.ACCUMULATE,
        precision=solver.PRECISION,
        clip_norm=solver.CLIP_NORM,
        clip_value=solver.CLIP_VALUE,
        ema=ema,
        wait=solver.NONFINITE == "skip",
    )
    trainer.leaves_out = cfg.DATALOADER.BAD_SAMPLES == "skip"
    trainer.register("bad_samples", LeftOut(loader.bad))
    trainer.schedule = make_lr_scheduler(cfg, total_steps=trainer.total_steps)
    if freezing is not None and cfg.MODEL.FREEZE_EPOCHS:
        trainer.add_hooks([ThawHook(freezing, cfg.MODEL.FREEZE_EPOCHS, wrap)])
    if isinstance(ema, ModelSWA):
        trainer.add_hooks([SWAHook(ema, solver.SWA_EPOCHS)])
    return trainer


def check_strategy(cfg: Config, task: Task) -> None:
    """What DISTRIBUTED.STRATEGY fsdp does not go together with; also where one rank alone shards nothing.

    Raises:
        UserError: it names the key.
    """
    if cfg.DISTRIBUTED.STRATEGY != "fsdp":
        return
    refused = {
        "MODEL.COMPILE true": cfg.MODEL.COMPILE,
        "MODEL.CHANNELS_LAST true": cfg.MODEL.CHANNELS_LAST,
        "DISTRIBUTED.SYNC_BATCHNORM true": cfg.DISTRIBUTED.SYNC_BATCHNORM,
        "DISTRIBUTED.FIND_UNUSED true": cfg.DISTRIBUTED.FIND_UNUSED,
        "SOLVER.PRECISION fp16": cfg.SOLVER.PRECISION == "fp16",
    }
    for key, is_set in refused.items():
        if is_set:
            raise UserError(f"{key} does not go together with DISTRIBUTED.STRATEGY fsdp; leave it out, or take ddp")
    sharding.check_shardable(task, cfg.SOLVER.OPTIMIZER_NAME)


def check_device(cfg: Config, device: torch.device) -> None:
    """What the config asks of the device.

    Raises:
        UserError: fp16 on a CPU (most of its operations do not exist there), synchronised batch normalisation without
            CUDA, compiling without a compiler.
    """
    check_precision(cfg, device)
    if cfg.DISTRIBUTED.SYNC_BATCHNORM and device.type != "cuda":
        raise UserError(f"DISTRIBUTED.SYNC_BATCHNORM needs CUDA devices, this is {device}; torch has it for no other")
    if cfg.MODEL.COMPILE:
        check_compiler(device)


def check_precision(cfg: Config, device: torch.device) -> None:
    """The part of `check_device` that testing needs too.

    Raises:
        UserError: fp16 on a device that is not CUDA.
    """
    if cfg.SOLVER.PRECISION == "fp16" and device.type != "cuda":
        raise UserError(f"SOLVER.PRECISION fp16 needs a CUDA device, this is {device}; take bf16 or fp32")


def check_hooks(cfg: Config, task: Task, splits: Splits, device: torch.device) -> None:
    """What `build_hooks` would find wrong, found before there is a run.

    Raises:
        UserError: an unknown evaluator, score, view, hook or mirror, targets that do not fit, or something that listens to a
            validation that there is not.
    """
    check_evaluation(cfg, task, splits, device)
    for name in cfg.HOOKS:
        HOOKS.get(name)
    check_mirrors(cfg.MIRRORS)
    solver = cfg.SOLVER
    if solver.SWA_EPOCHS and solver.EARLY_STOP:
        raise UserError("SOLVER.SWA_EPOCHS averages the last epochs, which SOLVER.EARLY_STOP may never reach; set one to 0")
    if solver.SCHEDULE == "plateau" and effective_lr(cfg) <= solver.PLATEAU_MIN_LR:
        raise UserError(f"SOLVER.PLATEAU_MIN_LR {solver.PLATEAU_MIN_LR:g} is not below the rate, which then never falls")
    for key, listens in (("EARLY_STOP", solver.EARLY_STOP), ("SCHEDULE plateau", solver.SCHEDULE == "plateau")):
        if listens and splits.val is None:
            raise UserError(f"SOLVER.{key} needs a validation split; set DATASETS.VAL or DATASETS.VAL_FRACTION")


def check_batches(cfg: Config, task: Task, loader: Any, splits: Splits, device: torch.device) -> None:
    """Whether the model and the loss can learn from the micro-batches that will come.

    Args:
        device: where `task` is.

    Raises:
        UserError: one of a single sample, or of none, will come that batch normalisation cannot train on.
    """
    part = cfg.SOLVER.IMS_PER_BATCH // (cfg.SOLVER.ACCUMULATE * distributed.world_size())
    pairs = too_few_pairs(task.loss, cfg.DATALOADER.SAMPLER, part, splits.num_classes)
    if pairs:
        LOG.warning("%s", pairs)
    reaches_the_tail = cfg.SOLVER.MAX_STEPS == 0 or -(-len(loader) // cfg.SOLVER.ACCUMULATE) <= cfg.SOLVER.MAX_STEPS
    sizes = loader.plan.sizes(reaches_the_tail)
    if cfg.DISTRIBUTED.SYNC_BATCHNORM and 0 in sizes:
        raise UserError(
            "DISTRIBUTED.SYNC_BATCHNORM: the short last window of an epoch leaves a micro-batch without samples, and its "
            "rank would not take part; set DATALOADER.DROP_LAST true"
        )
    if cfg.DISTRIBUTED.SYNC_BATCHNORM and distributed.world_size() > 1:
        return  # synchronised layers see the samples of all ranks
    one = torch.zeros(1, channels_seen(cfg, splits.train), *image_size(cfg, splits), device=device)
    check_batch_norm(task.model, one, sizes, batch=cfg.SOLVER.IMS_PER_BATCH)


def check_sizes(cfg: Config, task: Task, splits: Splits, device: torch.device) -> None:
    """Whether a model that is built for the training images takes those of validation and test.

    Args:
        device: where `task` is.

    Raises:
        UserError: it does not.
    """
    channels, trained = channels_seen(cfg, splits.train), image_size(cfg, splits)
    for part in (splits.val, splits.test):
        tested = image_size(cfg, replace(splits, train=part), training=False) if part is not None else trained
        if tested != trained:
            check_test_size(task.model, cfg.MODEL.NAME, torch.zeros(1, channels, *tested, device=device), trained)


def is_to_be_sharded(cfg: Config) -> bool:
    """Whether DISTRIBUTED.STRATEGY says so and there are ranks."""
    return cfg.DISTRIBUTED.STRATEGY == "fsdp" and distributed.world_size() > 1


def freeze_and_optimize(cfg: Config, task: Task) -> tuple[torch.optim.Optimizer, Freezing | None]:
    """Freezes what MODEL.FREEZE names; the optimizer of the rest, and of what is frozen for a while only.

    An optimizer leaves alone what has no gradient, so that a part can begin to train later.

    Raises:
        UserError: a pattern that matches nothing, or keys of the solver that do not fit each other or the model.
    """
    if not cfg.MODEL.FREEZE:
        return make_tuned_optimizer(cfg, task, ()), None
    if cfg.MODEL.FREEZE_EPOCHS >= cfg.SOLVER.MAX_EPOCHS:
        LOG.warning("MODEL.FREEZE_EPOCHS %d: what is frozen stays so to the end", cfg.MODEL.FREEZE_EPOCHS)
    freezing = Freezing(task.model, cfg.MODEL.FREEZE, task.filled)
    if not cfg.MODEL.FREEZE_EPOCHS:
        freezing.apply()
    optimizer = make_tuned_optimizer(cfg, task, freezing.names)
    freezing.apply()
    task.still = freezing.norms
    return optimizer, freezing


def make_tuned_optimizer(cfg: Config, task: Task, later: Collection[str]) -> torch.optim.Optimizer:
    """The optimizer, with lower rates for the layers near the image and others for new ones, where that is asked for.

    Args:
        later: names of the model's parameters that begin to train later.

    Raises:
        UserError: keys of the solver that do not fit each other or the model.
    """
    apart = {f"model.{name}" for name in later}
    if cfg.SOLVER.LAYER_DECAY == 1 and cfg.SOLVER.NEW_LR_FACTOR == 1:
        return make_optimizer(cfg, task, apart=apart)
    depths = {f"model.{name}": depth for name, depth in layer_depths(task.model).items()}
    return make_optimizer(cfg, task, depths=depths, filled={f"model.{name}" for name in task.filled}, apart=apart)


def wrapping(cfg: Config, task: Task, device: torch.device) -> Callable[[], nn.Module]:
    """What makes of the task what is trained (see `prepare_model`); once more where freezing changed it."""
    return partial(
        prepare_model,
        task,
        device,
        channels_last=cfg.MODEL.CHANNELS_LAST,
        compile=cfg.MODEL.COMPILE,
        strategy=cfg.DISTRIBUTED.STRATEGY,
        sync_batchnorm=cfg.DISTRIBUTED.SYNC_BATCHNORM,
        find_unused=cfg.DISTRIBUTED.FIND_UNUSED,
    )
