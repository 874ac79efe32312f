"""Train a model and record the run.

    python tools/train_net.py --config-file configs/train_digits_softmax.yml --why "does the baseline learn?"
    python tools/train_net.py --resume <run>
    torchrun --nproc-per-node 2 tools/train_net.py --config-file configs/x.yml

Who wants a loop of their own copies this file.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _root

import config
from tracking import job
from tracking.reading import lookup
from utils import interrupts, orphans
from utils.errors import UserError
from utils.logger import log_file, setup_logger
from utils.names import check_run_name

LOG = logging.getLogger("fieldbook.tools")
TOOL = f"tools/{Path(__file__).name}"  # a copy of this file is a command of its own: records and reruns name it


def main(argv: Sequence[str]) -> int:
    """From the command line to the exit code."""
    args = config.parse_arguments(argv)
    setup_logger()
    if args.print_config or args.explain:
        cfg = load_config(args)
        print(config.explain(cfg, args.explain) if args.explain else config.dump(cfg), end="\n" if args.explain else "")
        return 0
    with interrupts.catching():
        orphans.follow_launcher()
        try:
            return resume(args, argv) if args.resume else start(args, argv)
        except interrupts.Interrupted as stop:
            from engine.stopping import stopped_early

            return stopped_early(stop, config.load(args).DISTRIBUTED.MAX_REQUEUES)


def load_config(args: argparse.Namespace) -> config.Config:
    """What this command line would train with: the run's own config where it resumes one."""
    cfg = config.load(args)
    if not args.resume:
        return cfg
    from engine.resume import find_resumable, load_resumed

    path = find_resumable(args, cfg.runs_folder, cfg.NAME or "run")
    return load_resumed(args, path)[0] if path else cfg


def start(args: argparse.Namespace, argv: Sequence[str]) -> int:
    """A new run. Whatever the user got wrong ends before any folder exists."""
    cfg = config.load(args)
    name = run_name(cfg, args.dry_run)
    own = lookup.find_own(cfg.runs_folder, name, [TOOL, *argv])
    if own is not None:
        LOG.info("this job was started again: it goes on with its run %s and that run's own code", own.name)
        args.resume, args.code = str(own), "run"
        return resume(args, ["--resume", args.resume, "--code", "run", *argv])
    if sys.stderr.isatty():  # the import of torch takes seconds; elsewhere a mistake stays one line
        LOG.info("starting %s ...", name)
    from engine import distributed, prepare  # torch takes seconds: after the config is known to be good

    device = prepare.choose_device(cfg.MODEL.DEVICE)
    with distributed.session(device, cfg.DISTRIBUTED.TIMEOUT):
        cfg, splits, trainer = build(cfg, device)
        if args.dry_run:
            from engine.preflight.build import dry_run

            return dry_run(cfg, splits, trainer)
        from engine.disk import check_disk
        from engine.launch import choose_parent, make_facts, make_run
        from tracking.screens.asking import ask_why

        check_disk(trainer, cfg.runs_folder)
        parent, guess = choose_parent(cfg, name, args.parent)
        args.why = args.why or ask_why(cfg.flat(), dict(cfg.origins), parent)
        words = [TOOL, *argv]
        facts = make_facts(cfg, splits, name=name, args=args, command=words, root=_root.ROOT, parent=parent, guess=guess)
        interrupts.check()
        run = make_run(cfg.runs_folder, facts)
        return train(cfg, splits, trainer, run, parent=parent)


def run_name(cfg: config.Config, dry: bool) -> str:
    """What the run is to be called; a dry run makes none, so there a name that cannot be is a warning."""
    name = cfg.NAME or "run"
    try:
        return check_run_name(name)
    except UserError as error:
        if not dry:
            raise
        LOG.warning("a training would say: %s", error)
        return name


def resume(args: argparse.Namespace, argv: Sequence[str]) -> int:
    """The same folder again, from its newest good checkpoint."""
    from engine.resume import find_resumable, is_finished, load_resumed
    from tracking.record import read_record

    given = config.load(args)
    path = find_resumable(args, given.runs_folder, given.NAME or "run")
    if path is None:
        return start(args, argv)
    made_by = next(iter(read_record(path).run.get("command", [])), TOOL)
    if made_by != TOOL and (_root.ROOT / made_by).is_file():  # a copy of this file, with a loop of its own
        raise UserError(f"{path.name} was made by {made_by}; resume it with that command")
    if job.began(path):  # this job was started again
        args.code = "run"
    if args.code == "run" and path / "scripts" != _root.ROOT:
        script = path / "scripts" / TOOL
        if not script.is_file():
            raise UserError(f"--code run: {script} is not there; leave --code run out to go on with this code")
        os.execv(sys.executable, [sys.executable, str(script), *_with_run(argv, path)])
    cfg, changes = load_resumed(args, path)
    before = read_record(path).status
    if is_finished(path, cfg, changes):
        LOG.info("%s is finished; raise --epochs to go on", path.name)
        return 0
    from engine import distributed, prepare

    device = prepare.choose_device(cfg.MODEL.DEVICE)
    with distributed.session(device, cfg.DISTRIBUTED.TIMEOUT):
        cfg, splits, trainer = build(cfg, device)
        if args.dry_run:
            from engine.preflight.build import dry_run

            return dry_run(cfg, splits, trainer)
        from engine.disk import check_disk
        from engine.launch import reopen_run

        check_disk(trainer, path, resumed=True)
        run = reopen_run(path, _root.ROOT, changes)
        return train(cfg, splits, trainer, run, before=before)


def build(cfg: config.Config, device: Any) -> tuple[config.Config, Any, Any]:
    """Data, model, loss, optimizer, schedule."""
    from data import build_splits, channels_seen
    from engine.build import build_task, build_trainer
    from engine.launch import check_ranks_agree
    from engine.named_weights import load_start_weights, name_runs
    from engine.randomness import seed_everything, seed_rank

    interrupts.check()  # imports are not interrupted
    check_ranks_agree(cfg)
    splits = build_splits(cfg)
    channels = channels_seen(cfg, splits.train)
    cfg = config.freeze_with(cfg, {"MODEL.NUM_CLASSES": splits.num_classes, "MODEL.IN_CHANNELS": channels, **name_runs(cfg)})
    seed_everything(cfg.SEED, cfg.DETERMINISTIC)
    task = build_task(cfg, splits)
    load_start_weights(cfg, task)
    trainer = build_trainer(cfg, task, splits, device)
    seed_rank(cfg.SEED, trainer.rank)
    interrupts.check()
    return cfg, splits, trainer


def train(cfg: config.Config, splits: Any, trainer: Any, run: Any, *, parent: Any = None, before: Any = None) -> int:
    """Hooks, the loop, the test of the best weights, the last status; `before` is that of a run that is resumed."""
    from engine.card import print_card
    from engine.ending import finish, record_failure
    from engine.hooks.build import build_hooks
    from engine.hooks.trial import PRUNED
    from engine.resume import restore
    from engine.stopping import stopped

    log, began = f"log{'' if trainer.is_main else f'_rank{trainer.rank}'}.txt", False
    with log_file(run.path / log):
        try:
            trainer.add_hooks(build_hooks(cfg, trainer, splits, run))
            if before:
                restore(trainer, run, splits)
            else:
                print_card(cfg, splits, trainer, run, parent)
            run.mirror(cfg.MIRRORS)
            began = True
            trainer.train()
            if trainer.stop_reason.startswith(("signal", PRUNED)):
                return stopped(trainer, run, trainer.stop_reason, cfg.DISTRIBUTED.MAX_REQUEUES)
            # A resumed run's config is written out whole: there every key was "set".
            finish(cfg, splits, trainer, run, report_unread=not before)
        except interrupts.Interrupted as stop:  # before the first step or in the test at the end: all is saved
            return stopped(trainer, run, str(stop), cfg.DISTRIBUTED.MAX_REQUEUES)
        except BaseException as error:
            if began or not before or not isinstance(error, UserError):
                return record_failure(cfg, trainer, run, error)
            run.give_back(before)  # nothing was done yet: the record stays as it was
            raise
        if trainer.is_main:  # the record is closed: whatever is wrong with the records beside it, this run is finished
            import tracking

            LOG.info("%s", tracking.outcome(run.path))
    return 0


def _with_run(argv: Sequence[str], path: Path) -> list[str]:
    """The same command line for the run's own copy, the run given as an absolute path."""
    words = list(argv)
    for i, word in enumerate(words):
        if word == "--resume":
            words[i + 1] = str(path.resolve())
        elif word.startswith("--resume="):
            words[i] = f"--resume={path.resolve()}"
    return words


if __name__ == "__main__":
    _root.run_tool(main)
