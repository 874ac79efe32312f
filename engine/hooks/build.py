"""The factory of the hooks: which there are, and in which order."""

from __future__ import annotations

from typing import Any

from config import Config
from data import Splits
from data.build import image_size
from engine import distributed
from engine.checkpoint import CheckpointWriter
from engine.evaluators.build import build_evaluator, make_scorer, primary_metric
from engine.hooks import HOOKS, Hook
from engine.hooks.checkpoints import CheckpointHook
from engine.hooks.early_stop import EarlyStopHook
from engine.hooks.evaluation import EvaluationHook
from engine.hooks.figures import FiguresHook
from engine.hooks.logging import LoggingHook
from engine.hooks.nonfinite import NonFiniteHook
from engine.hooks.plateau import PlateauHook
from engine.hooks.progress import ProgressHook
from engine.hooks.signals import SignalHook
from engine.hooks.tensorboard import TensorBoardHook
from engine.hooks.trial import trial_hooks
from engine.sharded_checkpoint import ShardedWriter
from engine.sharding import is_sharded, whole
from engine.trainer import Trainer
from solver import effective_lr


def build_hooks(cfg: Config, trainer: Trainer, splits: Splits, run: Any) -> list[Hook]:
    """The hooks in their order: numbers, validation, plateau, early stop, the user's own, checkpoints, signals."""
    device, solver = trainer.device, cfg.SOLVER
    evaluator = build_evaluator(cfg, splits.num_classes, device)
    evaluation = None
    if splits.val is not None:
        scorer = make_scorer(cfg, trainer.task, splits, "val", device, evaluator)

        def validate() -> dict[str, float]:
            scores = scorer()
            evaluator.reset()  # what it keeps (features) is not to lie beside training
            return scores

        evaluation = EvaluationHook(
            validate,
            run,
            period=solver.EVAL_PERIOD,
            primary=primary_metric(cfg, evaluator.compute()),
            lower_is_better=evaluator.lower_is_better,
        )
    main = distributed.is_main()
    test_image = (splits.train.channels, *image_size(cfg, splits, training=False))
    checkpoints = CheckpointHook(
        make_writer(trainer, run),
        run,
        lambda: export(trainer, splits, test_image),
        evaluation=evaluation,
        period=solver.CHECKPOINT_PERIOD,
        seconds=solver.CHECKPOINT_SECONDS,
        top_k=solver.TOP_K,
        beside=solver.CHECKPOINT_ASYNC,
    )
    hooks: list[Hook] = [LoggingHook(run, period=solver.LOG_PERIOD)]
    if main:
        events = TensorBoardHook(run.events_dir)
        hooks += [events, ProgressHook()]
    hooks += [evaluation] if evaluation is not None else []
    if main and cfg.TEST.FIGURES:
        hooks.append(FiguresHook(run, splits, events, evaluation))
    if solver.SCHEDULE == "plateau" and evaluation is not None:
        hooks.append(make_plateau(cfg, trainer, evaluation))
    if solver.EARLY_STOP and evaluation is not None:
        hooks.append(EarlyStopHook(evaluation, solver.EARLY_STOP))
    hooks += trial_hooks(run, evaluation)
    hooks += [HOOKS.get(name)(run=run, evaluation=evaluation) for name in cfg.HOOKS]
    # After everything that changes state, so that what is saved knows of it.
    return [*hooks, make_nonfinite(cfg, trainer, run, checkpoints), checkpoints, SignalHook(checkpoints)]


def make_writer(trainer: Trainer, run: Any) -> CheckpointWriter | None:
    """What writes checkpoints on this rank: rank 0 does, or of sharded training all ranks do."""
    if is_sharded(trainer.task):
        return ShardedWriter(run.weights_dir, trainer.device)
    return CheckpointWriter(run.weights_dir) if distributed.is_main() else None


def make_nonfinite(cfg: Config, trainer: Trainer, run: Any, checkpoints: CheckpointHook) -> NonFiniteHook:
    """What a NaN does; from now on the trainer asks it for the rate of a step."""
    solver = cfg.SOLVER
    hook = NonFiniteHook(
        run,
        checkpoints,
        trainer.schedule,
        policy=solver.NONFINITE,
        limit=solver.NONFINITE_LIMIT,
        factor=solver.ROLLBACK_FACTOR,
    )
    trainer.schedule = hook.rate
    return hook


def make_plateau(cfg: Config, trainer: Trainer, evaluation: EvaluationHook) -> PlateauHook:
    """The hook that lowers the rate; from now on the trainer asks it for the rate of a step."""
    solver, peak = cfg.SOLVER, effective_lr(cfg)
    hook = PlateauHook(
        evaluation,
        trainer.schedule,
        gamma=solver.GAMMA,
        patience=solver.PLATEAU_PATIENCE,
        threshold=solver.PLATEAU_THRESHOLD,
        least=solver.PLATEAU_MIN_LR / peak,
    )
    trainer.schedule = hook.rate
    return hook


def export(trainer: Trainer, splits: Splits, test_image: tuple[int, ...]) -> dict[str, Any]:
    """What best.pt holds: all that using the model needs, and nothing that only training needs.

    Args:
        test_image: channels, height and width of an image as it comes out of the transforms of a test.
    """
    prepare: Any = trainer.prepare
    return {
        "model": whole(trainer.task.model.state_dict()),
        "loss": whole(trainer.task.loss.state_dict()),
        "classes": splits.classes,
        "test_image": list(test_image),
        "preprocessing": prepare.describe(),
    }
