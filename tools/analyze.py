"""Look at data, model and solver before training; no run is made or touched, but for pictures of it.

python tools/analyze.py data --config-file configs/x.yml      counts, classes, mean and std, a grid of samples
python tools/analyze.py model --config-file configs/x.yml     layers, parameters, FLOPs
python tools/analyze.py lr-find --config-file configs/x.yml   the learning-rate range test: a picture and a suggestion
python tools/analyze.py schedule --config-file configs/x.yml  the learning rate of the whole run, as a picture
python tools/analyze.py profile --config-file configs/x.yml   where a step's time goes
python tools/analyze.py speed --config-file configs/x.yml     loader, model and both; the change that helps most, measured
python tools/analyze.py activations RUN                       where the last feature map of a run's weights is strong
python tools/analyze.py ranked RUN                            what was found for queries of a retrieval
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _root
from rich.console import Console
from rich.table import Table
from train_net import build

import config
from utils.errors import UserError
from utils.logger import setup_logger


def main(argv: Sequence[str]) -> int:
    """Runs the command named first."""
    args = config.parse_arguments(argv, tool="analyze")
    setup_logger()
    commands = {
        "data": show_data,
        "model": show_model,
        "lr-find": find_lr,
        "schedule": show_schedule,
        "profile": show_profile,
        "speed": show_speed,
        "activations": show_activations,
        "ranked": show_ranked,
    }
    if args.steps is not None and (args.steps < 1 or args.command not in ("lr-find", "profile")):
        raise UserError("--steps is a number of at least 1, for lr-find and profile")
    if args.file and args.command in ("model", "speed"):
        raise UserError(f"{args.command} draws nothing: --file is for the other commands")
    if args.command != "speed" and (args.seconds or args.json) or args.seconds is not None and not 0 < args.seconds < math.inf:
        raise UserError("--seconds is a number above 0, for speed; --json is for speed too")
    check_run(args)
    return commands[args.command](config.load(args), args)


def check_run(args: argparse.Namespace) -> None:
    """Some commands are of a run, the others of a recipe."""
    name, of_run = args.command, args.command in ("activations", "ranked")
    if not of_run and (args.run or args.count is not None or args.split != "test"):
        raise UserError(f"{name} takes no RUN, --split or --count: they are for activations and ranked")
    if of_run and (not args.run or args.config_file or any(n is not None and n < 1 for n in (args.count, args.top))):
        raise UserError(f"{name} RUN [--split SPLIT] [--count N]: of a run (a folder, a name, last); N is 1 or more")
    if args.top is not None and name != "ranked":
        raise UserError(f"{name} takes no --top: it is for ranked")


def show_activations(given: config.Config, args: argparse.Namespace) -> int:
    """A picture in the run's figures/ of some images, and of where the last feature map is strong."""
    from engine.analysis.activations import draw_activations, look

    cfg, splits, task, device, weights, path = of_run(given, args)
    looked = look(cfg, task, splits, args.split, device, args.count or 12, classifies=cfg.TEST.EVALUATOR == "classification")
    title = f"{cfg.NAME or cfg.MODEL.NAME}, {args.split}: where the network looks"
    print(f"picture: {draw_activations(looked, title, weights.name, path)}")
    print(f"last feature map: {looked.where} (channels x height x width)")
    return 0


def show_ranked(given: config.Config, args: argparse.Namespace) -> int:
    """Pictures in the run's figures/ of some queries, and of what was found for them."""
    from engine.analysis.ranked import NEAREST, SHOWN, choose_queries, draw_pages
    from engine.evaluators.build import build_evaluator, make_scorer
    from engine.evaluators.retrieval import RetrievalEvaluator

    cfg, splits, task, device, _, path = of_run(given, args)
    evaluator, dataset = build_evaluator(cfg, splits.num_classes, device), splits.get(args.split)
    if not isinstance(evaluator, RetrievalEvaluator) or dataset is None:
        raise UserError(
            f"{args.run}: nothing is searched for in its {args.split} split; ranked is for TEST.EVALUATOR retrieval"
        )
    scores = make_scorer(cfg, task, splits, args.split, device, evaluator)()
    queries = choose_queries(evaluator, args.count or SHOWN, args.top or NEAREST)
    title = f"{args.split}: rank1 {scores['rank1']:.3f}, mAP {scores['mAP']:.3f}{evaluator.manner}"
    for drawn in draw_pages(queries, dataset, title, path):
        print(f"picture: {drawn}")
    return 0


def of_run(given: config.Config, args: argparse.Namespace) -> tuple[Any, ...]:
    """Of the RUN that is named: config, splits, task, device, weights, and where its picture goes."""
    from data import build_splits
    from engine.build import build_task
    from engine.named_weights import find_trained, test_task

    cfg, weights, folder = find_trained(given.runs_folder, args.run, args.overrides)
    path = picture(cfg, args, "") if args.file else folder / "figures" / f"{args.command}_{args.split}.png"
    splits = build_splits(cfg)
    return cfg, splits, *test_task(cfg, splits, weights, build_task), weights, path


def picture(cfg: config.Config, args: argparse.Namespace, ending: str) -> Path:
    """--file, or a name in the working directory."""
    path = Path(args.file or f"{cfg.NAME or 'run'}_{ending}.png")
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UserError(f"--file {path}: a picture is a .png, .pdf or .svg file")
    return path


def find_lr(cfg: config.Config, args: argparse.Namespace) -> int:
    """The range test; what it suggests is a SOLVER.BASE_LR, before any scaling with the batch."""

    from engine.analysis.lr_finder import draw_range_test, range_test
    from engine.prepare import choose_device
    from solver import effective_lr

    path = picture(cfg, args, "lr_find")
    cfg, _, trainer = build(cfg, choose_device(cfg.MODEL.DEVICE))
    test = range_test(trainer, steps=args.steps or 150)
    base = float(f"{test.suggestion * cfg.SOLVER.BASE_LR / effective_lr(cfg):.2g}")
    end = f"the loss exploded at {test.rates[-1]:.2g}" if test.exploded else f"the test ended at {test.rates[-1]:.2g}"
    print(f"the loss falls fastest at {test.suggestion:.2g}, is least at {test.lowest:.2g}; {end} (step {len(test.rates)})")
    print(f"picture: {draw_range_test(test, path, f'{cfg.NAME or cfg.MODEL.NAME}: range test, {cfg.SOLVER.OPTIMIZER_NAME}')}")
    print(f"suggested: SOLVER.BASE_LR {base:g} (now {cfg.SOLVER.BASE_LR:g})")
    words = ["--config-file", args.config_file] if args.config_file else []
    words += [word for o in args.overrides if o.key != "SOLVER.BASE_LR" for word in (o.key, o.text)]
    print(shlex.join(["python", "tools/train_net.py", *words, "SOLVER.BASE_LR", f"{base:g}"]))
    return 0


def show_schedule(cfg: config.Config, args: argparse.Namespace) -> int:
    """The rate at the steps that tell, per parameter group where factors differ; and the picture."""

    from engine.analysis.schedule_view import Outline, draw_schedule, group_lines
    from engine.prepare import choose_device
    from solver import describe_lr

    path = picture(cfg, args, "schedule")
    cfg, _, trainer = build(cfg, choose_device(cfg.MODEL.DEVICE))
    solver, groups = cfg.SOLVER, trainer.optimizer.param_groups
    factors = {group["name"]: group["lr_factor"] for group in groups}
    milestones = solver.STEPS if solver.SCHEDULE == "multi_step" else ()
    outline = Outline(trainer.schedule, trainer.total_steps, trainer.steps_per_epoch, solver.WARMUP_ITERS, milestones, factors)
    table = Table("step", "epoch", "", "rate", title=f"{solver.OPTIMIZER_NAME}, {solver.SCHEDULE}; {describe_lr(cfg)}")
    for column in (0, 1, 3):
        table.columns[column].justify = "right"
    for step, what in outline.telling_steps():
        table.add_row(f"{step:,}", f"{step / outline.steps_per_epoch:.1f}", what, f"{outline.schedule(step):.4g}")
    console = Console()
    console.print(table)
    console.print("\n".join(group_lines(groups, outline.peak())), highlight=False)
    if late := outline.unreached():
        console.print(f"WARNING SOLVER.STEPS {late}: never reached, the run ends after {outline.total_steps}", highlight=False)
    title = f"{cfg.NAME or 'run'}: {solver.SCHEDULE}"
    console.print(f"picture: {draw_schedule(outline, path, title)}", soft_wrap=True, highlight=False)
    return 0


def show_profile(cfg: config.Config, args: argparse.Namespace) -> int:
    """Shares of a step by phase and by operator; a Chrome trace where --file says."""

    from engine.analysis.profiling import profile_steps
    from engine.preflight.table import duration
    from engine.prepare import choose_device

    trace = Path(args.file) if args.file else None
    if trace is not None and trace.suffix != ".json":
        raise UserError(f"--file {trace}: a Chrome trace is a .json file")
    cfg, _, trainer = build(cfg, choose_device(cfg.MODEL.DEVICE))
    result = profile_steps(trainer, steps=args.steps or 10, trace=trace)
    console = Console()
    title = f"a step of {cfg.SOLVER.IMS_PER_BATCH} samples: {duration(result.step)} (mean of {result.steps})"
    table = Table("phase", "time", "share", "", title=title)
    for name, seconds in result.phases.items():
        share = seconds / result.step
        table.add_row(name, duration(seconds), f"{share:.0%}", "\u2588" * round(30 * share))
    console.print(table)
    table = Table("operator (its own time)", "calls a step", "time a step", "share", title="under torch's profiler")
    for row in result.operators:
        table.add_row(row.name[:60], f"{row.calls:g}", duration(row.seconds), f"{row.share:.0%}")
    console.print(table)
    if trace is not None:
        console.print(f"trace: {trace}; open it in chrome://tracing or ui.perfetto.dev", soft_wrap=True, highlight=False)
    return 0


def show_speed(cfg: config.Config, args: argparse.Namespace) -> int:
    """Where the time goes on this machine, and what was tried to make it less; all of it in about --seconds."""

    from engine.analysis.build import build_bench, changes_for, make_builder
    from engine.analysis.speed import BASE_SHARE, measure, try_changes
    from engine.analysis.speed_table import as_plain, print_speed
    from engine.prepare import choose_device

    seconds, device = args.seconds or 60.0, choose_device(cfg.MODEL.DEVICE)
    cfg, splits, trainer = build(cfg, device)
    batch, loader = cfg.SOLVER.IMS_PER_BATCH, trainer.loader.describe()
    until = time.monotonic() + seconds
    with Console(stderr=True).status("measuring the config as it is") as status:
        base = build_bench(cfg, splits, device, trainer, batches=4)
        speed = measure(base, BASE_SHARE * seconds)
        changes, speed.left_out = changes_for(cfg, trainer, speed)
        again = make_builder(lambda pairs: config.load_file(args.config_file, [*args.overrides, *pairs]), splits, device)
        step, tell = speed.step("train"), lambda text: status.update(f"trying {text}")
        speed.trials = try_changes(base, changes, again, until=until, step=step, tell=tell)
    if args.json:
        print(json.dumps({"device": str(device), "threads": base.threads, "batch": batch, "loader": loader, **as_plain(speed)}))
        return 0
    threads = f", {base.threads} thread{'s' * (base.threads > 1)}" if device.type == "cpu" else ""
    title = f"{cfg.MODEL.NAME} on {splits.train.name}: a step of {batch} samples on {device}{threads}"
    print_speed(speed, title, loader, evaluated(cfg, splits, speed, trainer))
    return 0


def evaluated(cfg: config.Config, splits: Any, speed: Any, trainer: Any) -> str:
    """What the evaluations of an epoch cost beside its steps."""
    from engine.preflight.table import duration

    if "evaluate" not in speed.times or splits.val is None:
        return "of the test split, once at the end"
    whole = len(splits.val) / speed.rate("evaluate")
    epoch = trainer.steps_per_epoch * speed.step("train")
    share = whole / (whole + epoch * cfg.SOLVER.EVAL_PERIOD)
    return f"{len(splits.val):,} samples take {duration(whole)}, {share:.0%} of the run; an epoch's steps {duration(epoch)}"


def show_data(cfg: config.Config, args: argparse.Namespace) -> int:
    """Counts, class histogram, pixel statistics; a picture of augmented samples in the working directory."""

    from data import build_splits
    from data.dataset import class_counts
    from data.identity_checks import identity_counts

    splits = build_splits(cfg)
    parts = {name: part for name in ("train", "val", "test") if (part := splits.get(name)) is not None}
    console = Console()
    table = Table("" if splits.train.open_set else "class", *parts, title=f"{splits.train.name}: samples", show_footer=False)
    if splits.train.open_set:  # the identities of one split are not those of another
        of_identities = {name: identity_counts(part) for name, part in parts.items()}
        for label in of_identities["train"]:
            table.add_row(label, *(str(counts[label]) for counts in of_identities.values()))
    else:
        of_classes = {name: class_counts(part) for name, part in parts.items()}
        for number, label in enumerate(splits.classes):
            table.add_row(label, *(str(counts[number]) for counts in of_classes.values()))
    table.add_section()
    table.add_row("all", *(str(len(part)) for part in parts.values()))
    console.print(table)
    mean, std, seen = pixel_statistics(cfg, splits)
    shown = [", ".join(f"{value:.4f}" for value in values) for values in (mean, std)]
    console.print(f"pixels of {seen} training samples: mean ({shown[0]}), std ({shown[1]}), fractions of full scale")
    console.print(f"normalised with: mean {tuple(splits.train.mean)}, std {tuple(splits.train.std)}")
    path = draw_samples(cfg, splits, picture(cfg, args, "samples"))
    console.print(f"augmented training samples: {path}")
    return 0


def pixel_statistics(cfg: config.Config, splits: Any, most: int = 2000) -> tuple[list[float], list[float], int]:
    """Mean and standard deviation per channel over the first `most` training samples, untransformed."""
    import torch

    sums = torch.zeros(3, splits.train.channels, dtype=torch.float64)
    seen = min(len(splits.train), most)
    for index in range(seen):
        image = splits.train[index]["image"]
        pixels = image.double().flatten(1) / (255 if image.dtype == torch.uint8 else 1)
        sums += torch.stack([torch.full((len(pixels),), pixels.shape[1]), pixels.sum(1), pixels.square().sum(1)])
    mean = sums[1] / sums[0]
    return mean.tolist(), (sums[2] / sums[0] - mean**2).clamp(min=0).sqrt().tolist(), seen


def draw_samples(cfg: config.Config, splits: Any, path: Path) -> Path:
    """The first training batch as the model gets it (before normalising), 8 x 4, with class names."""
    from data import make_data_loader
    from engine.figures.grid import Cell, draw_grid
    from engine.figures.pictures import INK, small

    batch = next(iter(make_data_loader(cfg, "train", splits)))
    images, targets = batch["image"][:32], [splits.train.targets[index] for index in batch["index"][:32].tolist()]
    names = [splits.text_of(target) if splits.classes else f"{target:.4g}" for target in targets]
    cells = [Cell(small(image), [(name, INK)]) for image, name in zip(images, names, strict=True)]
    title = f"{splits.train.name}: augmented training samples"
    return draw_grid(cells, title, "as the model gets them, before they are normalised", path)


def show_model(cfg: config.Config, args: argparse.Namespace) -> int:
    """Each layer with its output and parameters; the sum, and the FLOPs of one sample by torch's own counter."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from data import build_splits, channels_seen
    from data.build import image_size
    from engine.build import build_task

    splits = build_splits(cfg)
    model = build_task(cfg, splits).model.eval()
    table = Table("layer", "kind", "output", "parameters", title=cfg.MODEL.NAME)
    table.columns[3].justify = "right"

    def row(name: str) -> Any:
        def add(module: torch.nn.Module, _: Any, output: Any) -> None:
            shape = "x".join(map(str, output.shape[1:])) if isinstance(output, torch.Tensor) else ""
            count = sum(p.numel() for p in module.parameters(recurse=False))
            table.add_row(name, type(module).__name__, shape, f"{count:,}" if count else "")

        return add

    for name, module in model.named_modules():
        if not list(module.children()):
            module.register_forward_hook(row(name))
    sample = torch.zeros(1, channels_seen(cfg, splits.train), *image_size(cfg, splits))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(sample)
    count = sum(p.numel() for p in model.parameters())
    console = Console()
    console.print(table)
    console.print(f"{count:,} parameters, {4 * count / 1e6:.2f} MB as fp32; {counter.get_total_flops():,} FLOPs a sample")
    return 0


if __name__ == "__main__":
    _root.run_tool(main)
