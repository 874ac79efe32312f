"""The engine's factories: the only place of this room that reads `cfg`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import tracking
from config import Config
from data import Splits, build_prepare, make_data_loader
from data.build import channels_seen, image_size, mixes
from data.dataset import Part
from engine import distributed
from engine.checkpoint import CheckpointWriter
from engine.distillation.build import add_teacher
from engine.evaluators import EVALUATORS
from engine.hooks import HOOKS, Hook
from engine.hooks.checkpoints import CheckpointHook
from engine.hooks.early_stop import EarlyStopHook
from engine.hooks.evaluation import EvaluationHook
from engine.hooks.logging import LoggingHook
from engine.hooks.plateau import PlateauHook
from engine.hooks.progress import ProgressHook
from engine.hooks.signals import SignalHook
from engine.hooks.swa import SWAHook
from engine.hooks.tensorboard import TensorBoardHook
from engine.hooks.thaw import ThawHook
from engine.inference import Evaluator, evaluate
from engine.preflight import Preflight, Scorer
from engine.prepare import check_batch_norm, check_compiler, prepare_model, set_matmul_precision
from engine.task import Task
from engine.trainer import AUTOCAST, Trainer
from engine.views import AveragedTask, check_views
from modeling import Freezing, build_loss, build_model, layer_depths
from solver import ModelSWA, make_average, make_lr_scheduler, make_optimizer
from utils.errors import UserError


def build_task(cfg: Config, splits: Splits) -> Task:
    """Model and loss, untrained, on the CPU.

    Raises:
        UserError: names or sizes that do not fit.
    """
    set_matmul_precision(cfg.MODEL.MATMUL_PRECISION)
    channels, classes = channels_seen(cfg, splits.train), splits.num_classes
    model = build_model(cfg, in_channels=channels, num_classes=classes, image_size=image_size(cfg, splits))
    return Task(model, build_loss(cfg, num_classes=classes), (cfg.MODEL.NAME, cfg.LOSS.NAME))


def build_evaluator(cfg: Config, num_classes: int, device: torch.device) -> Evaluator:
    """The evaluator that TEST.EVALUATOR names."""
    evaluator: Evaluator = EVALUATORS.get(cfg.TEST.EVALUATOR)(num_classes=num_classes, device=device)
    return evaluator


def make_scorer(
    cfg: Config, task: Task, splits: Splits, split: str, device: torch.device, evaluator: Evaluator
) -> Callable[..., dict[str, float]]:
    """A function that evaluates `task` on a split, and passes `on_batch` on."""
    ranks = {"rank": distributed.rank(), "world_size": distributed.world_size()}
    loader = make_data_loader(cfg, split, splits, **ranks, train=False)
    prepare = build_prepare(cfg, splits, device)
    autocast = AUTOCAST.get(cfg.SOLVER.PRECISION)
    check_targets(cfg, splits, task.loss, evaluator)
    judge = _with_views(cfg, task, splits, evaluator)

    def score(on_batch: Callable[..., Any] | None = None) -> dict[str, float]:
        loader.set_position(0, 0)
        return evaluate(judge, loader, prepare, evaluator, device=device, autocast=autocast, on_batch=on_batch)

    return score


def _with_views(cfg: Config, task: Task, splits: Splits, evaluator: Evaluator) -> nn.Module:
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
        raise UserError(f"TEST.PRIMARY_METRIC {wanted!r}: the evaluator {cfg.TEST.EVALUATOR} gives {', '.join(scores)}, loss")
    return wanted or next(iter(scores))


def check_precision(cfg: Config, device: torch.device) -> None:
    """fp16 needs a GPU: on a CPU most of its operations do not exist.

    Raises:
        UserError: they do not fit.
    """
    if cfg.SOLVER.PRECISION == "fp16" and device.type != "cuda":
        raise UserError(f"SOLVER.PRECISION fp16 needs a CUDA device, this is {device}; take bf16 or fp32")


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
    }[kind]
    for key, name, part in (("LOSS.NAME", cfg.LOSS.NAME, loss), ("TEST.EVALUATOR", cfg.TEST.EVALUATOR, evaluator)):
        if kind not in getattr(part, "target_kinds", (kind,)):
            raise UserError(f"{key} {name} is not for the targets of {train.name}: {has}; take {takes}")
    if mixes(cfg) and kind != "value" and not getattr(loss, "soft_targets", False):
        raise UserError(
            f"INPUT.MIXUP_ALPHA and INPUT.CUTMIX_ALPHA give soft targets, which LOSS.NAME {cfg.LOSS.NAME} does not take; "
            "set both to 0 or take cross_entropy"
        )


def check_hooks(cfg: Config, task: Task, splits: Splits, device: torch.device) -> None:
    """What `build_hooks` would find wrong, found before there is a run.

    Raises:
        UserError: an unknown evaluator, score, view or hook, targets that do not fit, or something that listens to a
            validation that there is not.
    """
    evaluator = build_evaluator(cfg, splits.num_classes, device)
    primary_metric(cfg, evaluator.compute())
    check_targets(cfg, splits, task.loss, evaluator)
    _with_views(cfg, task, splits, evaluator)
    for name in cfg.HOOKS:
        HOOKS.get(name)
    for key, listens in (("EARLY_STOP", cfg.SOLVER.EARLY_STOP), ("SCHEDULE plateau", cfg.SOLVER.SCHEDULE == "plateau")):
        if listens and splits.val is None:
            raise UserError(f"SOLVER.{key} needs a validation split; set DATASETS.VAL or DATASETS.VAL_FRACTION")


def build_trainer(cfg: Config, task: Task, splits: Splits, device: torch.device) -> Trainer:
    """A trainer without the hooks that need a run (`build_hooks`): what is wrong is to be said before there is one.

    Raises:
        UserError: whatever of data, solver and device does not fit.
    """
    check_precision(cfg, device)
    if cfg.DISTRIBUTED.SYNC_BATCHNORM and device.type != "cuda":
        raise UserError(f"DISTRIBUTED.SYNC_BATCHNORM needs CUDA devices, this is {device}; torch has it for no other")
    check_hooks(cfg, task, splits, device)
    if cfg.MODEL.COMPILE:
        check_compiler(device)
    solver = cfg.SOLVER
    prepare = add_teacher(cfg, task, splits, build_prepare(cfg, splits, device, train=True), device)
    optimizer, freezing = freeze_and_optimize(cfg, task.to(device))
    loader = make_data_loader(cfg, "train", splits, rank=distributed.rank(), world_size=distributed.world_size())
    wrap = partial(
        prepare_model,
        task,
        device,
        channels_last=cfg.MODEL.CHANNELS_LAST,
        compile=cfg.MODEL.COMPILE,
        strategy=cfg.DISTRIBUTED.STRATEGY,
        sync_batchnorm=cfg.DISTRIBUTED.SYNC_BATCHNORM,
        find_unused=cfg.DISTRIBUTED.FIND_UNUSED,
    )
    wrapped = wrap()
    ema = make_average(cfg, task.model)
    trainer = Trainer(
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
        nonfinite=solver.NONFINITE,
    )
    reaches_the_tail = trainer.total_steps >= trainer.steps_per_epoch
    one = torch.zeros(1, channels_seen(cfg, splits.train), *image_size(cfg, splits), device=device)
    plan: Any = loader.plan
    check_batch_norm(task.model, one, plan.sizes(reaches_the_tail), batch=solver.IMS_PER_BATCH)
    trainer.schedule = make_lr_scheduler(cfg, total_steps=trainer.total_steps)
    if freezing is not None and cfg.MODEL.FREEZE_EPOCHS:
        trainer.add_hooks([ThawHook(freezing, cfg.MODEL.FREEZE_EPOCHS, wrap)])
    if isinstance(ema, ModelSWA):
        trainer.add_hooks([SWAHook(ema, solver.SWA_EPOCHS)])
    return trainer


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


def build_hooks(cfg: Config, trainer: Trainer, splits: Splits, run: Any) -> list[Hook]:
    """The hooks in their order: numbers, validation, plateau, early stop, checkpoints, signals, then the user's own."""
    device, solver = trainer.device, cfg.SOLVER
    evaluator = build_evaluator(cfg, splits.num_classes, device)
    evaluation = None
    if splits.val is not None:
        evaluation = EvaluationHook(
            make_scorer(cfg, trainer.task, splits, "val", device, evaluator),
            run,
            period=solver.EVAL_PERIOD,
            primary=primary_metric(cfg, evaluator.compute()),
            lower_is_better=evaluator.lower_is_better,
        )
    main = distributed.is_main()
    checkpoints = CheckpointHook(
        CheckpointWriter(run.weights_dir) if main else None,
        run,
        lambda: export(trainer, splits),
        evaluation=evaluation,
        period=solver.CHECKPOINT_PERIOD,
        seconds=solver.CHECKPOINT_SECONDS,
        top_k=solver.TOP_K,
    )
    hooks: list[Hook] = [LoggingHook(run, period=solver.LOG_PERIOD)]
    if main:
        hooks += [TensorBoardHook(run.events_dir), ProgressHook()]
    hooks += [evaluation] if evaluation is not None else []
    if solver.SCHEDULE == "plateau" and evaluation is not None:
        hooks.append(make_plateau(cfg, trainer, evaluation))
    if solver.EARLY_STOP and evaluation is not None:
        hooks.append(EarlyStopHook(evaluation, solver.EARLY_STOP))
    # After everything that changes state at an epoch's end, so that what is saved knows of it.
    hooks += [checkpoints, SignalHook(checkpoints)]
    return [*hooks, *(HOOKS.get(name)(run=run, evaluation=evaluation) for name in cfg.HOOKS)]


def make_plateau(cfg: Config, trainer: Trainer, evaluation: EvaluationHook) -> PlateauHook:
    """The hook that lowers the rate; from now on the trainer asks it for the rate of a step."""
    solver = cfg.SOLVER
    hook = PlateauHook(
        evaluation,
        trainer.schedule,
        gamma=solver.GAMMA,
        patience=solver.PLATEAU_PATIENCE,
        threshold=solver.PLATEAU_THRESHOLD,
        least=solver.PLATEAU_MIN_LR / solver.BASE_LR,
    )
    trainer.schedule = hook.rate
    return hook


def export(trainer: Trainer, splits: Splits) -> dict[str, Any]:
    """What best.pt holds: all that using the model needs, and nothing that only training needs."""
    prepare: Any = trainer.prepare
    return {
        "model": trainer.task.model.state_dict(),
        "loss": trainer.task.loss.state_dict(),
        "classes": splits.classes,
        "preprocessing": prepare.describe(),
    }


def build_preflight(cfg: Config, splits: Splits, trainer: Trainer, scratch: Path) -> Preflight:
    """The checks of --dry-run on a trainer with all its hooks; what they write goes to `scratch`, a temporary folder."""
    trainer.add_hooks(build_hooks(cfg, trainer, splits, tracking.QuietRun(scratch)))
    data: dict[str, Any] = {"train": (trainer.loader, splits.train)}
    scorers = {}
    epochs, solver = trainer.max_epochs, cfg.SOLVER
    evaluations = -(-epochs // solver.EVAL_PERIOD)
    for split, times in (("val", evaluations), ("test", int(cfg.TEST.AT_END))):
        part = splits.get(split)
        if part is None:
            continue
        data[split] = (make_data_loader(cfg, split, splits), part)
        count = min(2 * cfg.TEST.IMS_PER_BATCH * distributed.world_size(), len(part))
        few = dataclasses.replace(splits, **{split: Part(part, range(count))})
        evaluator = build_evaluator(cfg, splits.num_classes, trainer.device)
        score = make_scorer(cfg, trainer.task, few, split, trainer.device, evaluator)
        scorers[split] = Scorer(score, count, len(part) / count, times)
    numbered = epochs // solver.CHECKPOINT_PERIOD
    return Preflight(
        trainer,
        data=data,
        scorers=scorers,
        scratch=scratch,
        disk=Path(cfg.OUTPUT_DIR or "exp"),
        files=2 + (min(solver.TOP_K + 1, numbered) if solver.TOP_K else numbered),
        writes=epochs + numbered + evaluations,
    )
