"""Weights that a config or a command line names, and what they are put into."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import config
import tracking
from config import Config
from data import Splits
from engine.checkpoint import load_checkpoint
from engine.prepare import choose_device
from engine.randomness import seed_everything
from engine.sharding import fit
from engine.task import Task
from modeling import load_state_file, load_weights
from utils.errors import NoUsableCheckpoint, UserError

LOG = logging.getLogger("fieldbook.engine")


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


def load_best(path: Path, task: Task) -> None:
    """best.pt into a task, after its digest was checked."""
    content = load_checkpoint(path)
    for name, module in (("model", task.model), ("loss", task.loss)):
        module.load_state_dict(fit(content.get(name, {}), module))


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
