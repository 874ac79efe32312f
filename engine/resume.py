"""Going on with a run: which one, with which config, from which state."""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path
from typing import Any

import config
import tracking
from data import Splits
from engine import distributed
from engine.hooks.checkpoints import CheckpointHook
from engine.trainer import Trainer
from tracking.reading import index, lookup
from utils.errors import NoUsableCheckpoint, UserError

LOG = logging.getLogger("fieldbook.engine")
# What a run is cannot be changed under way.
REFUSED = (
    "MODEL.NAME",
    "MODEL.NUM_CLASSES",
    "MODEL.IN_CHANNELS",
    "MODEL.HIDDEN",
    "MODEL.FREEZE",
    "LOSS.",
    "DISTILL.",
    "SOLVER.OPTIMIZER_NAME",
    "DATASETS.",
    "SOLVER.NEW_LR_FACTOR",
    "SOLVER.LAYER_DECAY",
    "SOLVER.IMS_PER_BATCH",
    "SOLVER.ACCUMULATE",
    "SOLVER.PARAM_GROUPS",
    "DATALOADER.DROP_LAST",
    "DATALOADER.SAMPLER",
    "DATALOADER.REPEATS",
    "SEED",
)


def find_resumable(args: argparse.Namespace, folder: Path, name: str) -> Path | None:
    """The run that --resume means; None where "auto" finds none, so that a new one is started.

    Raises:
        UserError: the run named does not exist, or is a link that leads out of the folder of runs.
    """
    if args.resume != "auto":
        if (folder / args.resume).is_symlink() and folder.resolve() not in (folder / args.resume).resolve().parents:
            raise UserError(f"--resume {args.resume}: a link out of {folder}; name the folder that it points to")
        return tracking.find_run(folder, args.resume)
    own = lookup.find_own(folder, name)
    if own is not None:
        return own
    runs = index.load(folder, write=False)
    unfinished = [row for row in reversed(runs.rows) if row["status"] in ("interrupted", "failed", "lost")]
    for row in unfinished:
        if row["name"] == name:
            return runs.path(row)
    if unfinished and not args.config_file and not any(o.key == "NAME" for o in args.overrides):
        raise UserError(
            f"--resume auto looks for a run of the name that --config-file or --name gives, here {name!r}, of which there is "
            f"none to go on with; the newest unfinished run is {unfinished[0]['id']}"
        )
    living = [row["id"] for row in runs.rows if row["name"] == name and row["status"] == "running"]
    also = f" ({living[-1]} is still running)" if living else ""
    LOG.info("--resume auto: no run of %s in %s to go on with%s; a new one is started", name, folder, also)
    return None


def load_resumed(args: argparse.Namespace, path: Path) -> tuple[config.Config, dict[str, Any]]:
    """The run's own config with what earlier resumes changed and what this command line changes; the latter as
    {key: [old, new]}.

    Raises:
        UserError: a change that would make it another run.
    """
    before = tracking.read_record(path).overrides
    own = config.load_run(path / "config.yml", before)
    overrides = [o for o in args.overrides if o.key not in ("NAME", "OUTPUT_DIR")]
    cfg = config.load_run(path / "config.yml", [*before, *overrides])
    old, new = own.flat(), cfg.flat()
    changes = {key: [old[key], new[key]] for key in old if old[key] != new[key]}
    for key in changes:
        if key.startswith(REFUSED):
            raise UserError(f"{key} cannot be changed in a run that goes on ({old[key]!r} to {new[key]!r}); start a new run")
    if {"SOLVER.MAX_EPOCHS", "SOLVER.MAX_STEPS"} & set(changes) and cfg.SOLVER.SCHEDULE not in ("constant", "multi_step"):
        LOG.warning("the schedule %s now spans the new length: the rate jumps where the run goes on", cfg.SOLVER.SCHEDULE)
    renamed = any(o.key == "NAME" and o.text != cfg.NAME for o in args.overrides)
    told = {"--why": args.why, "--expect": args.expect, "--tag": args.tags, "--parent": args.parent, "--name": renamed}
    for flag, text in told.items():
        if text and args.resume != "auto":  # the same command may begin a run and go on with it
            LOG.warning("%s is of a run's start and is not taken; exp.py note, verdict and tag add to %s", flag, path.name)
    if args.config_file:
        given = config.load_file(args.config_file).flat()
        here = {o.key for o in overrides} | {"NAME", "OUTPUT_DIR", "MODEL.NUM_CLASSES", "MODEL.IN_CHANNELS"}  # or from the data
        differs = [key for key in given if given[key] != old[key] and key not in here]
        if differs:
            shown = ", ".join(f"{key} {old[key]!r} (file: {given[key]!r})" for key in differs[:6])
            LOG.warning("the run's own config is taken, not that of %s: %s", args.config_file, shown)
    return cfg, changes


def is_finished(path: Path, cfg: config.Config, changes: dict[str, Any]) -> bool:
    """Whether nothing is left to do: finished, and its epochs did not grow.

    Raises:
        NoUsableCheckpoint: they did, and its checkpoints are gone: it would silently begin anew.
    """
    record = tracking.read_record(path)
    longer = False
    for key in ("SOLVER.MAX_EPOCHS", "SOLVER.MAX_STEPS"):
        old, new = (limit or math.inf for limit in changes.get(key, (1, 1)))  # 0 steps: no limit
        longer = longer or new > old
    finished = record.status.get("status") == "finished"
    if finished and longer and not any((path / "weights").glob("*")):
        raise NoUsableCheckpoint(
            f"{path / 'weights'} is empty, though {path.name} finished: nothing to go on from; start a new run"
        )
    return finished and not longer


def restore(trainer: Trainer, run: Any, splits: Splits) -> None:
    """Puts the trainer where the run's newest good checkpoint was taken, and cuts the curves there; warns where the data is
    not what it was at the start.

    Raises:
        NoUsableCheckpoint: there are some, but none is good.
    """
    if trainer.is_main:
        _compare_data(splits, tracking.read_record(run.path).run.get("data", {}))
    checkpoints = next(hook for hook in trainer.hooks if isinstance(hook, CheckpointHook))
    state = checkpoints.newest_good()
    if state is None:
        LOG.info("no checkpoint was ever written: starting at step 0")
    else:
        trainer.load_state_dict(state)
        if trainer.step:
            _note_rate(state["optimizer"]["param_groups"], trainer.schedule(trainer.step - 1))
    cut = distributed.on_main(lambda: run.cut(trainer.step))
    rows = f"; {cut} later rows of metrics.jsonl went to metrics.cut.jsonl" if cut else ""
    file = f" from {checkpoints.restored} of {run.id}" if checkpoints.restored else ""
    LOG.info("resumed at epoch %d, step %d%s%s", trainer.epoch, trainer.step, file, rows)


def _note_rate(saved: list[dict[str, Any]], rate: float) -> None:
    """One line where the rate by the config differs from that of the checkpoint's last step: the config's is taken.

    Args:
        saved: the optimizer's groups as they were saved, with "lr" and "lr_factor".
        rate: what the schedule gives for that step.
    """
    for group in saved:
        before, now = float(group["lr"]), rate * float(group.get("lr_factor", 1.0))
        if abs(before - now) > 1e-9 * max(abs(before), abs(now)):
            LOG.info("the learning rate follows the config: %g at this step, where the checkpoint had %g", now, before)
            return


def _compare_data(splits: Splits, recorded: dict[str, Any]) -> None:
    """Warns of splits that are not those of run.json, of which a hand may have edited or left out anything."""
    digests = {name: part.get("digest") for name, part in recorded.items() if isinstance(part, dict)}
    changed = []
    for name in ("train", "val", "test"):
        part = splits.get(name)
        if digests.get(name) and (part is None or part.digest() != digests[name]):
            changed.append(name)
    if changed:
        LOG.warning(
            "the data has changed since the run began (digests of %s); it goes on with what is there", ", ".join(changed)
        )
