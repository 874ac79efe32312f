"""Search, repeats and folds: each trial is an ordinary run.

    python tools/sweep.py --config-file configs/train_digits_softmax.yml --search 'SOLVER.BASE_LR=grid(0.1,0.01)' --seeds 3
    python tools/sweep.py --config-file configs/x.yml --search 'SOLVER.BASE_LR=loguniform(1e-4,1)' --trials 30 --jobs 2
    python tools/sweep.py --resume <sweep>

The sweep keeps its own files and a copy of the code in `exp/.sweeps/<name>/`; all its trials run that copy.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _root

import config
from engine.search import plan
from engine.search.plan import Sweep
from engine.search.spec import Dimension, check_search, grid, parse_search
from engine.search.study import check_storage
from tracking import job
from tracking.lock import RunLock
from tracking.notes import check_tags
from utils import interrupts
from utils.errors import RunFailed, UserError
from utils.files import write_json
from utils.logger import log_file, setup_logger
from utils.names import check_run_name
from utils.redact import redact

LOG = logging.getLogger("fieldbook.tools")
INTERRUPTED = 75  # exit code of a sweep that was stopped by a signal and can be resumed


def main(argv: Sequence[str]) -> int:
    """From the command line to the exit code."""
    args = config.parse_arguments(argv, "sweep")
    setup_logger()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("tools/sweep.py starts each trial itself: call it without torchrun")
    for name, least in (("trials", 1), ("seeds", 1), ("folds", 2), ("jobs", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name} {value}: expects at least {least}")
    folder, name = where(args)
    if not args.resume and job.restarts() and plan.sweep_path(folder, name).is_dir():
        args.resume, args.config_file, args.search = name, None, []  # SLURM started this job again: all stands in the sweep
        args.overrides = [entry for entry in args.overrides if entry.key in ("NAME", "OUTPUT_DIR")]
    sweep = resume(args, folder) if args.resume else start(args, folder, name)
    if (sweep.path / "scripts").resolve() != _root.ROOT:
        words = [f"--resume={sweep.name}", f"--output-dir={sweep.folder}", f"--jobs={sweep.jobs}"]
        words += [f"--trials={sweep.trials}"] if args.trials else []
        words += [f"--storage={args.storage}"] if args.storage else []
        script = str(sweep.path.resolve() / "scripts" / "tools" / "sweep.py")
        os.execv(sys.executable, [sys.executable, script, *words, *(["--json"] if args.json else [])])
    return run(args, sweep)


def where(args: argparse.Namespace) -> tuple[Path, str]:
    """The folder of runs and the sweep's name, as this command line says."""
    given = {entry.key: entry.text for entry in args.overrides}
    if args.resume:
        return Path(given.get("OUTPUT_DIR") or "exp"), args.resume
    cfg = config.load(args)
    return cfg.runs_folder, check_run_name(cfg.NAME or "sweep")


def start(args: argparse.Namespace, folder: Path, name: str) -> Sweep:
    """A new sweep, made but not begun. Whatever the user got wrong ends before any folder exists."""
    dimensions = parse_search(args.search)
    if not dimensions and not args.seeds and not args.folds:
        raise UserError("nothing to do: --search KEY=SPEC, --seeds N or --folds K says what is tried; see sweep.py --help")
    check_search(dimensions, args.config_file, args.overrides)
    check_tags(args.tags)
    cfg = config.load(args)
    folds = args.folds or 0
    check_validated(cfg, folds)
    whole = all(dimension.kind == "grid" for dimension in dimensions)
    sampler = args.sampler or ("grid" if whole else "tpe")
    if sampler == "grid":
        points = len(grid(dimensions))
        if args.trials and args.trials > points:
            LOG.warning("--trials %d: the grid has %d points, each is tried once", args.trials, points)
    if cfg.TEST.AT_END and any(entry.key == "TEST.AT_END" for entry in args.overrides):
        LOG.warning("TEST.AT_END: trials are not tested, what selects must not see the test set; the best can be at the end")
    jobs = args.jobs or 1
    sweep = Sweep(
        name=name,
        folder=str(folder),
        cwd=os.getcwd(),
        search={dimension.key: dimension.text for dimension in dimensions},
        words=plan.trial_words(args),
        recipe=recipe_of(cfg, args.config_file) if args.config_file else "",
        settings=settings_of(cfg),
        why=args.why,
        tags=args.tags,
        sampler=sampler,
        pruner=args.pruner or "none",
        trials=args.trials or (0 if sampler == "grid" else plan.POINTS),
        seeds=args.seeds or 1,
        folds=folds,
        jobs=jobs,
        storage=redact(args.storage or ""),
        threads=os.environ.get("OMP_NUM_THREADS", "") or (str(max(cpus() // jobs, 1)) if jobs > 1 else ""),
    )
    if plan.sweep_path(folder, name).is_dir():
        raise plan.name_is_taken(sweep)
    if args.parent:
        import tracking

        tracking.find_run(folder, args.parent)
    check_storage(sweep, args.storage or "")
    plan.create(sweep, _root.ROOT)
    return sweep


def check_validated(cfg: config.Config, folds: int) -> None:
    """Raises UserError unless there is one kind of validation data, by which trials are compared."""
    if folds and cfg.DATASETS.VAL:
        raise UserError("--folds validates on parts of the training data, DATASETS.VAL names other data for that; unset one")
    if not folds and not cfg.DATASETS.VAL and not cfg.DATASETS.VAL_FRACTION and not cfg.DATASETS.FOLDS:
        raise UserError("trials are compared by validation, never by the test set; set DATASETS.VAL, VAL_FRACTION or --folds")


def resume(args: argparse.Namespace, folder: Path) -> Sweep:
    """The facts of an old sweep, with what may change: how many points, how many at a time."""
    sweep = plan.load(folder, args.resume)
    for flag, text in (("--why", args.why), ("--expect", args.expect), ("--tag", args.tags), ("--parent", args.parent)):
        if text:
            LOG.warning("%s is of a sweep's start and is not taken", flag)
    given = [(name, getattr(args, name)) for name in ("seeds", "folds", "sampler", "pruner")]
    settings: dict[str, Any] = {}
    if args.config_file:
        settings = settings_of(config.load(args))
    elif any(entry.key not in ("OUTPUT_DIR", "NAME") for entry in args.overrides):
        keys = ", ".join(entry.key for entry in args.overrides if entry.key not in ("OUTPUT_DIR", "NAME"))
        raise UserError(f"--resume {sweep.name}: {keys} cannot be changed in a sweep that goes on; begin another one")
    search = {dimension.key: dimension.text for dimension in parse_search(args.search)}
    plan.check_same(sweep, search, settings, given)
    if args.storage and redact(args.storage) != sweep.storage:
        raise UserError(
            f"--resume {sweep.name}: it is stored in {sweep.storage or 'its own journal file'}, not {redact(args.storage)}"
        )
    if redact(sweep.storage) != (args.storage or sweep.storage) or "***" in sweep.storage:
        if not args.storage:
            raise UserError(f"--resume {sweep.name}: its storage has a password, which is kept nowhere; give --storage again")
        sweep.storage = args.storage
    sweep.jobs = args.jobs or sweep.jobs
    if args.trials and sweep.sampler == "grid" and args.trials != sweep.trials:
        raise UserError(f"--resume {sweep.name}: a grid is run through once; --trials cannot be changed")
    sweep.trials = args.trials or sweep.trials
    return sweep


def settings_of(cfg: config.Config) -> dict[str, Any]:
    """The resolved config by dotted key, as JSON has it."""
    return dict(json.loads(json.dumps(cfg.flat())))


def recipe_of(cfg: config.Config, file: str) -> str:
    """What a --config-file and its `_BASE_`s say, on lines of their own, so that nobody can edit it while trials begin. Keys
    of the defaults are left out, so that a record still says what was set; so is a name that was given for the sweep."""
    lines = []
    for key, value in cfg.flat().items():
        origin = cfg.origins[key]
        if key == "NAME" and (
            origin in ("derived", "command line") or origin.startswith("flag ")
        ):  # the sweep's is none for a run that repeats the best
            value, origin = Path(file).stem, "derived"
        elif key == "OUTPUT_DIR" or origin in ("default", "derived"):
            continue
        lines.append(f"{key}: {json.dumps(value)}  # {origin}\n")
    return "".join(lines)


def run(args: argparse.Namespace, sweep: Sweep) -> int:
    """All that is left to do, then the table."""
    if sweep.threads:
        os.environ["OMP_NUM_THREADS"] = sweep.threads  # before anything is imported that reads it
    if Path(sweep.cwd) != Path.cwd():
        if not Path(sweep.cwd).is_dir():
            raise UserError(f"{sweep.name} was begun in {sweep.cwd}, which is not there; its paths are relative to it")
        sweep.folder = str(Path(sweep.folder).resolve())
        os.chdir(sweep.cwd)
    lock = None if sweep.storage else RunLock(sweep.path)
    with interrupts.catching(), log_file(sweep.path / "log.txt"):
        try:
            return tried(args, sweep)
        except interrupts.Interrupted as stop:
            return stopped_by(sweep, stop.number)
        finally:
            if lock is not None:
                lock.release(sweep.path)


def tried(args: argparse.Namespace, sweep: Sweep) -> int:
    """Runs the loop and shows what came of it."""
    from engine.search import study as studies
    from engine.search import table

    dimensions = parse_search([f"{key}={text}" for key, text in sweep.search.items()])
    study = studies.open_study(sweep)
    with studies.storage_errors(sweep):
        stopped, overheads = search(sweep, study, dimensions)
        result = table.gather(sweep, study, dimensions)
    if not stopped and result.points and all(point["state"] == "refused" for point in result.points):
        if not sweep.storage:  # then nobody else works at it
            shutil.rmtree(sweep.path)  # so that its name is free
        raise UserError(f"no trial of {sweep.name} could begin: {result.points[0]['reason']}")
    content = table.as_object(sweep, result, bool(stopped))
    from engine.search.pictures import draw

    pictures = draw(result, dimensions, sweep.path)
    content["overhead_seconds"] = sum(overheads) / len(overheads) if overheads else None
    content["pictures"] = [str(path) for path in pictures]
    write_json(sweep.path / "result.json", content)
    if args.json:
        print(json.dumps(content))
    else:
        table.show(sweep, result, pictures)
    LOG.info("%s", table.summary_line(sweep, result))
    if stopped:
        return stopped_by(sweep, stopped)
    if result.open:
        LOG.info("%d points are still tried by other processes; call this again when they are gone", result.open)
    elif result.best is None:
        raise RunFailed(
            f"no trial of {sweep.name} finished: {result.points[0]['reason'] if result.points else 'there is none'}"
        )
    return 0


def stopped_by(sweep: Sweep, number: int) -> int:
    """The end at a signal, no trial running any more; under SLURM the job is queued again, once for all of them."""
    from engine.slurm import requeue

    reason = f"signal {signal.Signals(number).name}"
    at = "" if sweep.folder == "exp" else f" --output-dir {sweep.folder}"
    LOG.info("stopped by %s; go on with tools/sweep.py --resume %s%s", reason, sweep.name, at)
    requeue(reason, sweep.settings["DISTRIBUTED.MAX_REQUEUES"])
    return INTERRUPTED


def search(sweep: Sweep, study: Any, dimensions: list[Dimension]) -> tuple[int, list[float]]:
    """Tries what is left; (the signal that ended it, or 0; of each run the seconds that were the sweep's own)."""
    points = len(grid(dimensions)) if sweep.sampler == "grid" else sweep.trials
    limit = min(points, sweep.trials or points)
    if sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False)) >= limit:
        return 0, []
    if not sweep.storage:  # a URL may hold a password
        plan.save(sweep)
    import train_net

    from engine.search.loop import Loop
    from engine.search.process import TrialProcess, devices, import_all

    import_all()
    cards = devices() if sweep.jobs > 1 and sweep.settings["MODEL.DEVICE"] in ("auto", "cuda") else []

    def begin(words: list[str], log: Path, slot: int) -> TrialProcess:
        card = cards[slot % len(cards)] if cards else ""
        return TrialProcess(_root.run_tool, train_net.main, words, log, card)

    interrupts.defer()
    loop = Loop(sweep, study, dimensions, begin)
    each = f" of {len(sweep.runs())} runs" if len(sweep.runs()) > 1 else ""
    loop.title = f"{sweep.name}: {limit} points{each}, {sweep.jobs} at a time; {sweep.path}"
    return loop.run(limit), loop.overheads


def cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    _root.run_tool(main)
