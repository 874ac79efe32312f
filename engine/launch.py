"""Between the commands and the engine: the facts of a run, its folder on every rank, its card, its end."""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import config
import tracking
from config import Config
from data import Splits, channels_seen, make_data_loader, summary
from engine import distributed
from engine.checkpoint import load_checkpoint
from engine.prepare import choose_device
from engine.task import Task, total_loss
from engine.testing import run_test
from engine.trainer import Trainer
from modeling import load_state_file, load_weights
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.engine")


def find_weights(text: str, folder: Path) -> Path:
    """The file that MODEL.WEIGHTS or TEST.WEIGHT means: a file, or the best weights of a run.

    Raises:
        UserError: there is neither.
    """
    if Path(text).is_file():
        return Path(text)
    path = tracking.find_run(folder, text) / "weights" / "best.pt"
    if not path.is_file():
        raise UserError(f"{text}: the run has no weights/best.pt (yet)")
    return path


def name_runs(cfg: Config) -> dict[str, str]:
    """Keys that name other runs -> those runs' ids: what `last` means today it will not mean when this run goes on.

    Raises:
        UserError: a run does not exist.
    """
    folder, named = Path(cfg.OUTPUT_DIR or "exp"), {}
    for key in ("MODEL.WEIGHTS", "DISTILL.TEACHER"):
        text = cfg.flat()[key]
        if text and not Path(text).exists():
            named[key] = tracking.find_run(folder, text).name
    return named


def load_start_weights(cfg: Config, task: Task) -> None:
    """MODEL.WEIGHTS into the fresh model of a task, with a line on what matched; the task notes what was filled."""
    if cfg.MODEL.WEIGHTS:
        path = find_weights(cfg.MODEL.WEIGHTS, Path(cfg.OUTPUT_DIR or "exp"))
        report = load_weights(task.model, load_state_file(path), cfg.MODEL.WEIGHTS_ALLOW)
        task.filled = frozenset(report.matched)
        LOG.info("weights from %s: %s", path, report.text())


def make_facts(
    cfg: Config,
    splits: Splits,
    *,
    name: str,
    args: argparse.Namespace,
    argv: Sequence[str],
    root: Path,
    parent: tracking.Record | None,
    device: torch.device,
) -> tracking.Facts:
    """What run.json says of the start."""
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    hardware = {"torch": torch.__version__, "device": device_name(device), "threads": str(torch.get_num_threads())}
    return tracking.Facts(
        root=root,
        name=name,
        config=config.dump(cfg),
        config_flat=cfg.flat(),
        config_digest=config.digest(cfg),
        origins=dict(cfg.origins),
        seed=cfg.SEED,
        command=["tools/train_net.py", *argv],
        why=args.why,
        expect=args.expect,
        tags=args.tags,
        parent=parent.id if parent is not None else "",
        world_size=distributed.world_size(),
        data={split: summary(part) for split, part in parts.items() if part is not None},
        hardware=hardware,
    )


def make_run(folder: Path, facts: tracking.Facts) -> Any:
    """The run of this rank: rank 0 makes the folder and names it to the others. If it cannot, all end with its error."""
    return _on_main(lambda: tracking.start_run(folder, facts))


def reopen_run(path: Path, root: Path, changes: dict[str, Any]) -> tuple[Any, str]:
    """The run of this rank in an old folder, and a line on code that differs from its copy."""
    notes: list[str] = []

    def reopen() -> tracking.Run:
        run, difference = tracking.resume_run(path, root, changes)
        notes.append(difference)
        return run

    return _on_main(reopen), "".join(notes)


def _on_main(make: Callable[[], tracking.Run]) -> Any:
    run, error = None, ""
    if distributed.is_main():
        try:
            run = make()
        except UserError as problem:
            error = str(problem)
    path, error = distributed.broadcast((str(run.path) if run else "", error))
    if error:
        raise UserError(error)
    return run if run is not None else tracking.QuietRun(Path(path))


def device_name(device: torch.device) -> str:
    """cuda:0 (NVIDIA ...), cpu, mps."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def card_facts(cfg: Config, splits: Splits, trainer: Trainer) -> list[tuple[str, str]]:
    """The rows of the run card that only the engine knows."""
    solver, ranks = cfg.SOLVER, distributed.world_size()
    per_rank = solver.IMS_PER_BATCH / ranks / solver.ACCUMULATE
    sizes = [f"{name} {len(part)}" for name in ("train", "val", "test") if (part := splits.get(name)) is not None]
    count = f"{sum(p.numel() for p in trainer.task.model.parameters()):,} parameters"
    frozen = sum(p.numel() for p in trainer.task.model.parameters() if not p.requires_grad)
    if frozen:
        epochs = cfg.MODEL.FREEZE_EPOCHS
        count += f" ({frozen:,} frozen{f' for {epochs} epochs' if epochs else ''})"
    warmup = f", {solver.WARMUP_ITERS} steps of {solver.WARMUP_METHOD} warm-up" if solver.WARMUP_ITERS else ""
    loader: Any = trainer.loader
    channels = channels_seen(cfg, splits.train)
    grey = f"; grey, repeated to {channels} channels" if channels != splits.train.channels else ""
    classes = f"{len(splits.classes) or 'no'} classes{grey}"
    return [
        ("data", f"{splits.train.name}: {', '.join(sizes)}; {classes}; loader {loader.describe()}"),
        ("model", f"{cfg.MODEL.NAME}, {count}, on {device_name(trainer.device)}, {solver.PRECISION}"),
        ("batch", f"{per_rank:g} per rank x {ranks} ranks x {solver.ACCUMULATE} accumulated = {solver.IMS_PER_BATCH} a step"),
        ("steps", f"{trainer.steps_per_epoch} an epoch, {trainer.total_steps} in {trainer.max_epochs} epochs"),
        ("rate", f"{solver.OPTIMIZER_NAME} at {solver.BASE_LR:g}, {solver.SCHEDULE}{warmup}; not scaled with the batch"),
        ("seed", f"{cfg.SEED} (splits {cfg.DATASETS.SPLIT_SEED})"),
    ]


def print_card(cfg: Config, splits: Splits, trainer: Trainer, run: Any, parent: tracking.Record | None, guess: bool) -> None:
    """The run card, to the screen and into log.txt."""
    if not distributed.is_main():
        return
    width = max(min(shutil.get_terminal_size((100, 24)).columns, 120), 60)
    card = tracking.run_card(run, parent, guess, card_facts(cfg, splits, trainer), width)
    LOG.info("%s", "\n" + card)


def try_batches(cfg: Config, splits: Splits, trainer: Trainer) -> list[tuple[str, str]]:
    """One batch of each split through model and loss, and one backward pass."""
    rows = []
    for split in ("train", "val", "test"):
        if splits.get(split) is None:
            continue
        batch = trainer.prepare(next(iter(make_data_loader(cfg, split, splits))))
        trainer.task.train(split == "train")
        _, losses = trainer.task(batch)
        loss = total_loss(losses)
        if split == "train":
            loss.backward()
        image = batch["image"]
        rows.append(
            (
                split,
                f"batch {list(image.shape)} {image.dtype}, from {image.min():.2f} to {image.max():.2f}; loss {loss.item():.4f}",
            )
        )
    return rows


def load_best(path: Path, trainer_task: Any) -> None:
    """best.pt into a task, after its digest was checked."""
    content = load_checkpoint(path)
    trainer_task.model.load_state_dict(content["model"])
    trainer_task.loss.load_state_dict(content.get("loss", {}))


def finish(cfg: Config, splits: Splits, trainer: Trainer, run: Any, *, report_unread: bool) -> None:
    """Tests the best weights where asked, says what was never read, and closes the record."""
    distributed.barrier()
    if cfg.TEST.AT_END and splits.test is not None:
        load_best(run.weights_dir / "best.pt", trainer.task)
        result = run_test(cfg, trainer.task, splits, "test", trainer.device, run.path, "best.pt")
        run.write_test(result)
        scores = result["metrics"]
        primary = "" if splits.val is not None else next(iter(scores))
        run.update(metrics=scores, step=trainer.step, primary_metric=primary)
        run.log(trainer.step, trainer.epoch, scores)
        LOG.info("test  %s", "  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    unread = cfg.unread() if report_unread else []
    if unread:
        LOG.warning("set, but read by nothing in this run: %s", ", ".join(unread))
    reason = trainer.stop_reason
    run.update(progress={"epoch": trainer.epoch, "step": trainer.step, "total_steps": trainer.total_steps})
    run.finish("finished", reason)
    LOG.info("finished%s: %s", f" ({reason})" if reason else "", run.path)


def test_task(cfg: Config, splits: Splits, weights: Path, build: Callable[..., Any]) -> tuple[Any, torch.device]:
    """A task with the weights of a file, on its device."""
    device = choose_device(cfg.MODEL.DEVICE)
    task = build(cfg, splits)
    content = load_checkpoint(weights)
    if "classes" in content and content["classes"] != splits.classes:
        raise UserError(f"{weights}: trained for the classes {content['classes'][:5]}, the data has {splits.classes[:5]}")
    load_weights(task.model, load_state_file(weights), cfg.MODEL.WEIGHTS_ALLOW)
    if content.get("loss"):
        task.loss.load_state_dict(content["loss"])
    task.to(device)
    if cfg.MODEL.CHANNELS_LAST:
        task.model.to(memory_format=torch.channels_last)
    return task, device
