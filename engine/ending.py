"""The end of a training: the test of its best weights and the last status, or what it failed of."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from config import Config
from config.defaults import get_defaults
from data import Splits
from engine import distributed
from engine.blame import blame, passed_through, report
from engine.figures.pictures import harmless
from engine.hooks.tensorboard import add_pictures
from engine.manifest import read_manifest
from engine.memory import is_out_of_memory, peak_memory_mb
from engine.named_weights import load_best
from engine.testing import draw_tested, judge, write_predictions
from engine.trainer import Trainer
from utils.errors import RunFailed, UserError

LOG = logging.getLogger("fieldbook.engine")


def finish(cfg: Config, splits: Splits, trainer: Trainer, run: Any, *, report_unread: bool) -> None:
    """Tests the best weights where asked, says what was never read, and closes the record."""
    distributed.barrier()
    if cfg.TEST.AT_END and splits.test is not None:
        load_best(run.weights_dir / "best.pt", trainer.task)
        tested = judge(cfg, trainer.task, splits, "test", trainer.device, "best.pt")
        if trainer.is_main:
            write_predictions(tested, splits, run.path / "predictions.csv")
        run.write_test(tested.result)
        scores = tested.result["metrics"]
        primary = "" if splits.val is not None else next(iter(scores))
        losses = {name.rpartition("/")[2] for name in scores if "/loss" in name}
        lower = tested.evaluator.lower_is_better | losses
        step = read_manifest(run.weights_dir).get("best.pt", {}).get("step", trainer.step)  # whose weights these are
        run.update(metrics=scores, step=step, primary_metric=primary, lower_is_better=lower, final=True)
        run.log(trainer.step, trainer.epoch, scores)
        LOG.info("test  %s", "  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
        draw_tested(cfg, trainer.task, splits, tested, trainer.device, run.figures_dir)  # the scores are safe
    values, defaults = cfg.flat(), get_defaults().flat()  # a run's own config.yml sets every key, most to their defaults
    unread = [key for key in cfg.unread() if values[key] != defaults[key]] if report_unread else []
    if unread:
        LOG.warning("set, but read by nothing in this run: %s", ", ".join(unread))
    pictures = sorted(run.figures_dir.glob("*.png")) if distributed.is_main() else []
    if pictures:
        with harmless("TensorBoard's pictures"):
            add_pictures(run.events_dir, pictures, trainer.step)
    reason = trainer.stop_reason
    run.update(progress={"epoch": trainer.epoch, "step": trainer.step, "total_steps": trainer.total_steps})
    run.finish("finished", reason)
    LOG.info("finished%s: %s", f" ({reason})" if reason else "", run.path)


def record_failure(cfg: Config, trainer: Trainer, run: Any, error: BaseException) -> int:
    """What ended a run, into its log and record; the exit code.

    A rank that ends only because another one did says so in one line: the first traceback is the one that counts.
    """
    code = 1
    if distributed.is_echo(error):
        reason = f"another rank ended first: {_said_elsewhere(run.path)}"
        LOG.error("rank %d stops, because %s", distributed.rank(), reason)
    elif is_out_of_memory(error):
        reason = f"out of memory {_memory_advice(cfg, trainer, error)}"
        LOG.error("%s\n  %s", reason, blame(error))
    elif isinstance(error, UserError | RunFailed):
        reason, code = str(error), error.exit_code
        LOG.error("%s", reason)
    else:
        reason = blame(error)[:500]
        LOG.exception("%s", report(error))
    run.finish("failed", reason)
    return code


def _memory_advice(cfg: Config, trainer: Trainer, error: BaseException) -> str:
    """Where it was, how much was in use, and the key that helps. What is on disk is of before and stays."""
    solver, ranks, peak = cfg.SOLVER, distributed.world_size(), peak_memory_mb(trainer.device)
    kept = f"peak {peak:,.0f} MB on {trainer.device}; checkpoints are kept, so --resume goes on"
    if getattr(trainer.loader, "kind", "") == "device":
        kept += "; the data set lies there too, DATALOADER.LOADER memory keeps it off"
    if passed_through(error, "engine/inference.py"):
        return f"in validation or test ({kept}): lower TEST.IMS_PER_BATCH, now {cfg.TEST.IMS_PER_BATCH}"
    micro = -(-solver.IMS_PER_BATCH // (solver.ACCUMULATE * ranks))
    at = f"at step {trainer.step} ({solver.IMS_PER_BATCH} samples a step, {micro} at a time; {kept})"
    if micro == 1:
        return f"{at}: a single sample does not fit; lower INPUT.SIZE_TRAIN, or set MODEL.ACTIVATION_CHECKPOINTING true"
    return (
        f"{at}: set SOLVER.ACCUMULATE {2 * solver.ACCUMULATE} in a new run, which makes the same steps of {-(-micro // 2)} "
        "samples at a time; or SOLVER.PRECISION bf16, MODEL.ACTIVATION_CHECKPOINTING true"
    )


def _said_elsewhere(path: Path) -> str:
    """The first error in the logs of the run's other ranks."""
    for log in sorted(path.glob("log_rank*.txt")):
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if " ERROR " in line and "because another rank" not in line:
                return f"{log.name}: {line.partition(' ERROR ')[2]}"
    return "it died without a word, or hangs"
