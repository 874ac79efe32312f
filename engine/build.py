"""The engine's factories: the only place of this room that reads `cfg`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from config import Config, freeze_with
from data import Splits, build_prepare, channels_seen, make_data_loader
from data.build import image_size
from data.datasets.image_folder import ImageFiles
from data.loaders.loader import Loader
from data.prepare import Prepare
from engine import distributed, sharding
from engine.distillation.build import add_teacher
from engine.evaluators.build import build_evaluator, check_ranking, check_targets, primary_metric, tell_sources, with_views
from engine.hooks import HOOKS
from engine.hooks.swa import SWAHook
from engine.hooks.thaw import ThawHook
from engine.left_out import LeftOut
from engine.prepare import check_batch_norm, check_compiler, prepare_model, set_matmul_precision
from engine.task import Task
from engine.trainer import AUTOCAST, Trainer
from modeling import Freezing, build_loss, build_model, layer_depths
from modeling.losses.outputs import check_needs
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
    set_matmul_precision(cfg.MODEL.MATMUL_PRECISION)
    channels, classes = channels_seen(cfg, splits.train), splits.num_classes
    model = build_model(cfg, in_channels=channels, num_classes=classes, image_size=image_size(cfg, splits))
    loss = build_loss(cfg, num_classes=classes, model=model)
    return Task(model, loss, (cfg.MODEL.NAME, cfg.LOSS.NAME), open_set=splits.train.open_set)


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


def check_hooks(cfg: Config, task: Task, splits: Splits, device: torch.device) -> None:
    """What `build_hooks` would find wrong, found before there is a run.

    Raises:
        UserError: an unknown evaluator, score, view, hook or mirror, targets that do not fit, or something that listens to a
            validation that there is not.
    """
    evaluator = build_evaluator(cfg, splits.num_classes, device)
    check_needs(f"TEST.EVALUATOR {cfg.TEST.EVALUATOR}", getattr(evaluator, "needs", None), cfg.MODEL.NAME, task.model)
    tell_sources(evaluator, splits, "val")
    primary_metric(cfg, evaluator.compute())
    check_targets(cfg, splits, task.loss, evaluator)
    part = cfg.SOLVER.IMS_PER_BATCH // (cfg.SOLVER.ACCUMULATE * distributed.world_size())
    pairs = too_few_pairs(task.loss, cfg.DATALOADER.SAMPLER, part, splits.num_classes)
    for said in [*check_ranking(splits, ["val", "test"]), *[pairs] * bool(pairs)]:
        LOG.warning("%s", said)
    with_views(cfg, task, splits, evaluator)
    for name in cfg.HOOKS:
        HOOKS.get(name)
    check_mirrors(cfg.MIRRORS)
    solver = cfg.SOLVER
    if solver.SWA_EPOCHS and solver.EARLY_STOP:
        raise UserError("SOLVER.SWA_EPOCHS averages the last epochs, which SOLVER.EARLY_STOP may never reach; set one to 0")
    if cfg.MODEL.FREEZE and cfg.MODEL.FREEZE_EPOCHS >= solver.MAX_EPOCHS:
        LOG.warning("MODEL.FREEZE_EPOCHS %d: what is frozen stays so to the end", cfg.MODEL.FREEZE_EPOCHS)
    if solver.SCHEDULE == "plateau" and effective_lr(cfg) <= solver.PLATEAU_MIN_LR:
        raise UserError(f"SOLVER.PLATEAU_MIN_LR {solver.PLATEAU_MIN_LR:g} is not below the rate, which then never falls")
    for key, listens in (("EARLY_STOP", cfg.SOLVER.EARLY_STOP), ("SCHEDULE plateau", cfg.SOLVER.SCHEDULE == "plateau")):
        if listens and splits.val is None:
            raise UserError(f"SOLVER.{key} needs a validation split; set DATASETS.VAL or DATASETS.VAL_FRACTION")


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
    place_and_check(cfg, task, loader, splits, device)
    optimizer, freezing = freeze_and_optimize(cfg, shard_task(cfg, task, device))
    wrap = wrapping(cfg, task, device)
    wrapped = wrap()
    ema = make_average(cfg, task.model)
    trainer = kind(
        task,
        optimizer,
        lambda step: solver.BASE_LR,
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


def is_to_be_sharded(cfg: Config) -> bool:
    """Whether DISTRIBUTED.STRATEGY says so and there are ranks."""
    return cfg.DISTRIBUTED.STRATEGY == "fsdp" and distributed.world_size() > 1


def shard_task(cfg: Config, task: Task, device: torch.device) -> Task:
    """`task`, sharded onto `device` where it is to be: before the optimizer, which takes the parts."""
    if is_to_be_sharded(cfg):
        sharding.shard(task, device, cfg.SOLVER.PRECISION)
    return task


def place_and_check(cfg: Config, task: Task, loader: Any, splits: Splits, device: torch.device) -> None:
    """Moves `task` to `device`; one that is to be sharded stays on the CPU: no GPU ever holds it whole, units are moved there
    one by one, as they are cut.

    Raises:
        UserError: a micro-batch of one sample will come that batch normalisation cannot train on.
    """
    device = torch.device("cpu") if is_to_be_sharded(cfg) else device
    task.to(device)
    reaches_the_tail = cfg.SOLVER.MAX_STEPS == 0 or -(-len(loader) // cfg.SOLVER.ACCUMULATE) <= cfg.SOLVER.MAX_STEPS
    one = torch.zeros(1, channels_seen(cfg, splits.train), *image_size(cfg, splits), device=device)
    sizes = loader.plan.sizes(reaches_the_tail)
    if cfg.DISTRIBUTED.SYNC_BATCHNORM and 0 in sizes:
        raise UserError(
            "DISTRIBUTED.SYNC_BATCHNORM: the short last window of an epoch leaves a micro-batch without samples, and its "
            "rank would not take part; set DATALOADER.DROP_LAST true"
        )
    if cfg.DISTRIBUTED.SYNC_BATCHNORM and distributed.world_size() > 1:
        return  # synchronised layers see the samples of all ranks
    check_batch_norm(task.model, one, sizes, batch=cfg.SOLVER.IMS_PER_BATCH)


def freeze_and_optimize(cfg: Config, task: Task) -> tuple[torch.optim.Optimizer, Freezing | None]:
    """Freezes what MODEL.FREEZE names; the optimizer of the rest, and of what is frozen for a while only.

    An optimizer leaves alone what has no gradient, so that a part can begin to train later.

    Raises:
        UserError: a pattern that matches nothing, or keys of the solver that do not fit each other or the model.
    """
    if not cfg.MODEL.FREEZE:
        return make_tuned_optimizer(cfg, task, ()), None
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
