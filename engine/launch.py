"""Between the commands and the engine: the facts of a run, its folder on every rank, its card, its end."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

import config
import tracking
from config import Config
from config.defaults import get_defaults
from data import Splits, summary
from engine import distributed
from engine.blame import blame, passed_through, report
from engine.card import device_name
from engine.checkpoint import load_checkpoint
from engine.figures.pictures import harmless
from engine.hooks.tensorboard import add_pictures
from engine.manifest import read_manifest
from engine.memory import is_out_of_memory, peak_memory_mb
from engine.prepare import choose_device
from engine.randomness import seed_everything
from engine.sharding import fit
from engine.task import Task
from engine.testing import draw_tested, run_test
from engine.trainer import Trainer
from modeling import load_state_file, load_weights
from utils.errors import NoUsableCheckpoint, RunFailed, UserError

LOG = logging.getLogger("fieldbook.engine")
T = TypeVar("T")


def check_ranks_agree(cfg: Config) -> None:
    """All ranks must have been started with the same config: they would train different things as one.

    Raises:
        UserError: on every rank; it names the first rank that has something else, and what.
    """
    first, *others = distributed.gather(cfg.flat())
    for rank, other in enumerate(others, start=1):
        keys = [key for key in sorted({*first, *other}) if first.get(key) != other.get(key)]
        if keys:
            shown = ", ".join(f"{key} {other.get(key)!r} (rank 0: {first.get(key)!r})" for key in keys[:3])
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise UserError(f"rank {rank} was started with {shown}{more}; start all ranks with the same command and files")


def find_weights(text: str, folder: Path) -> Path:
    """The file that MODEL.WEIGHTS or TEST.WEIGHT means: a file, or the best weights of a run.

    Raises:
        UserError: there is neither.
    """
    if Path(text).is_file():
        return Path(text)
    try:
        path = tracking.find_run(folder, text) / "weights" / "best.pt"
    except UserError as error:
        raise UserError(f"weights {text!r}: neither a file nor a run ({error})") from error
    if not path.is_file():
        raise UserError(f"{text}: the run has no weights/best.pt (yet)")
    return path


def find_trained(folder: Path, run: str, overrides: Sequence[config.Override]) -> tuple[Config, Path, Path]:
    """(config, weights, folder) of a run in `folder`: its newest config with `overrides` (but for OUTPUT_DIR, which says where
    to look for runs), and TEST.WEIGHT or its best.pt.

    Raises:
        UserError: there is no such run, or no such weights.
    """
    path = tracking.find_run(folder, run)
    own = [override for override in overrides if override.key != "OUTPUT_DIR"]
    cfg = config.load_run(path / "config.yml", [*tracking.read_record(path).overrides, *own])
    weights = Path(cfg.TEST.WEIGHT) if cfg.TEST.WEIGHT else path / "weights" / "best.pt"
    if not weights.is_file():
        raise UserError(f"{weights}: no such weights file; the run may have no best.pt yet")
    return cfg, weights, path


def name_runs(cfg: Config) -> dict[str, str]:
    """Keys that name other runs -> those runs' ids: what `last` means today it will not mean when this run goes on.

    Raises:
        UserError: a run does not exist.
    """
    named = {}
    for key in ("MODEL.WEIGHTS", "DISTILL.TEACHER"):
        text = cfg.flat()[key]
        if text and not Path(text).exists():
            named[key] = tracking.find_run(cfg.runs_folder, text).name
    return named


def load_start_weights(cfg: Config, task: Task) -> None:
    """MODEL.WEIGHTS into the fresh model of a task, with a line on what matched; the task notes what was filled."""
    if cfg.MODEL.WEIGHTS:
        path = find_weights(cfg.MODEL.WEIGHTS, cfg.runs_folder)
        report = load_weights(task.model, load_state_file(path), cfg.MODEL.WEIGHTS_ALLOW)
        task.filled = frozenset(report.matched)
        LOG.info("weights from %s: %s", path, report.text())


def choose_parent(cfg: Config, name: str, explicit: str) -> tuple[tracking.Record | None, bool]:
    """The run that the new one is compared with, the same on every rank, and whether it is only a guess.

    Raises:
        UserError: --parent names no run.
    """
    return distributed.on_main(lambda: tracking.choose_parent(cfg.runs_folder, name, cfg.flat(), explicit))


def make_facts(
    cfg: Config,
    splits: Splits,
    *,
    name: str,
    args: argparse.Namespace,
    command: Sequence[str],
    root: Path,
    parent: tracking.Record | None,
    guess: bool,
) -> tracking.Facts:
    """What run.json says of the start.

    Args:
        command: the tool's path in `root`, such as tools/train_net.py, and its words.
    """
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    device = choose_device(cfg.MODEL.DEVICE)
    hardware = {"torch": torch.__version__, "device": device_name(device), "threads": str(torch.get_num_threads())}
    return tracking.Facts(
        root=root,
        name=name,
        config=config.dump(cfg),
        config_digest=config.digest(cfg),
        origins=dict(cfg.origins),
        seed=cfg.SEED,
        command=list(command),
        why=args.why,
        expect=args.expect,
        tags=args.tags,
        parent=parent.id if parent is not None else "",
        parent_guess=guess,
        world_size=distributed.world_size(),
        data={split: summary(part) for split, part in parts.items() if part is not None},
        hardware=hardware,
    )


def make_run(folder: Path, facts: tracking.Facts) -> Any:
    """The run of this rank: rank 0 makes the folder and names it to the others. If it cannot, all end with its error."""
    return _run_of(lambda: tracking.start_run(folder, facts))


def reopen_run(path: Path, root: Path, changes: dict[str, Any]) -> Any:
    """The run of this rank in an old folder; a warning where the code differs from its copy."""

    def reopen() -> tracking.Run:
        run, difference = tracking.resume_run(path, root, changes)
        if difference:
            LOG.warning("%s", difference)
        return run

    return _run_of(reopen)


def _run_of(make: Callable[[], tracking.Run]) -> Any:
    """What rank 0 makes; on every other rank a quiet twin in the same folder."""
    runs: list[tracking.Run] = []

    def made() -> str:
        runs.append(make())
        return str(runs[0].path)

    path = distributed.on_main(made)
    return runs[0] if runs else tracking.QuietRun(Path(path))


def load_best(path: Path, task: Task) -> None:
    """best.pt into a task, after its digest was checked."""
    content = load_checkpoint(path)
    for name, module in (("model", task.model), ("loss", task.loss)):
        module.load_state_dict(fit(content.get(name, {}), module))


def finish(cfg: Config, splits: Splits, trainer: Trainer, run: Any, *, report_unread: bool) -> None:
    """Tests the best weights where asked, says what was never read, and closes the record."""
    distributed.barrier()
    if cfg.TEST.AT_END and splits.test is not None:
        load_best(run.weights_dir / "best.pt", trainer.task)
        tested = run_test(cfg, trainer.task, splits, "test", trainer.device, run.path, "best.pt")
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


def test_task(cfg: Config, splits: Splits, weights: Path, build: Callable[..., Any]) -> tuple[Any, torch.device]:
    """A task with the weights of a file, on its device.

    Raises:
        NoUsableCheckpoint: the file is damaged; the message names those beside it that can be tested in its place.
    """
    device = choose_device(cfg.MODEL.DEVICE)
    seed_everything(cfg.SEED, cfg.DETERMINISTIC)
    task = build(cfg, splits)
    try:
        content = load_checkpoint(weights)
    except NoUsableCheckpoint as error:
        others = sorted(path.name for path in weights.parent.glob("*.pt") if path.name != weights.name)
        hint = f"; beside it are {', '.join(others)}: TEST.WEIGHT {weights.with_name(others[-1])}" if others else ""
        raise NoUsableCheckpoint(f"{error}{hint}") from error
    if "classes" in content and content["classes"] != splits.classes:
        raise UserError(f"{weights}: trained for the classes {content['classes'][:5]}, the data has {splits.classes[:5]}")
    load_weights(task.model, load_state_file(weights))  # all of them: WEIGHTS_ALLOW is for the start of a training
    if content.get("loss"):
        task.loss.load_state_dict(content["loss"])
    task.to(device)
    if cfg.MODEL.CHANNELS_LAST:
        task.model.to(memory_format=torch.channels_last)
    return task, device
