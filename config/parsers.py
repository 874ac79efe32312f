"""The flags and words of each tool that takes a config."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from utils.arguments import Parser

FLAG_KEYS = {
    "--name": "NAME",
    "--batch-size": "SOLVER.IMS_PER_BATCH",
    "--learning-rate": "SOLVER.BASE_LR",
    "--epochs": "SOLVER.MAX_EPOCHS",
    "--seed": "SEED",
    "--device": "MODEL.DEVICE",
    "--output-dir": "OUTPUT_DIR",
}
ANALYSES = {
    "data": "counts, classes, mean and std of the pixels, a picture of augmented samples",
    "model": "layers, parameters, FLOPs",
    "lr-find": "the learning-rate range test, with its picture and a suggestion",
    "schedule": "the learning rate of the whole run as a picture, and of each parameter group",
    "profile": "where a step's time goes; with --file FILE.json a Chrome trace as well",
    "activations": "RUN: where in some images of a split the last feature map of its best weights is strong, as a picture",
    "ranked": "RUN: for queries of a split what was found for them, right and wrong framed, as pictures (retrieval)",
    "speed": "loader, model and both together, and which one change helps most: each is tried; --seconds N bounds it",
}
A_RUN = "a run's folder, its name, a part of it, last, best:METRIC"


def make_parser(tool: str) -> argparse.ArgumentParser:
    """The flags and words that `tool` takes; see `parse_arguments`, which reads KEY VALUE pairs beside them."""
    return TOOLS[tool]()


def attribute(flag: str) -> str:
    """Of the namespace: where the value of a flag in FLAG_KEYS stands."""
    return "flag_" + flag.lstrip("-").replace("-", "_")


def _both(flag: str) -> list[str]:
    """A flag in its two spellings: `--batch-size` and `--batch_size`."""
    return list(dict.fromkeys([flag, "--" + flag[2:].replace("-", "_")]))


def _add_keys(parser: argparse.ArgumentParser, flags: Sequence[str]) -> None:
    for flag in flags:
        spellings = _both(flag) + (["--save_dir", "--save-dir"] if flag == "--name" else [])
        metavar = {"--device": "DEV", "--output-dir": "DIR", "--name": "NAME", "--learning-rate": "LR"}.get(flag, "N")
        parser.add_argument(*spellings, dest=attribute(flag), metavar=metavar, help=f"the key {FLAG_KEYS[flag]}")


def _parser(prog: str, description: str, example: str = "") -> Parser:
    """A parser that says that keys can follow, `example` among them."""
    epilog = "Any key of config/defaults.py can follow as KEY VALUE or KEY=VALUE" + f", such as {example}" * bool(example)
    return Parser(prog=prog, description=description, epilog=f"{epilog}.")


def _run_parser(prog: str, description: str, example: str = "") -> Parser:
    """The same for a tool that reads a run; its config is that run's own."""
    parser = _parser(prog, description, example)
    parser.add_argument("run", metavar="RUN", help=A_RUN)
    parser.set_defaults(config_file=None)
    return parser


def _add_start(parser: argparse.ArgumentParser) -> None:
    """What the start of a run is told."""
    add = parser.add_argument
    add(*_both("--config-file"), metavar="FILE", help="the recipe, a YAML such as configs/train_digits_softmax.yml")
    add("--why", metavar="TEXT", default="", help="what this run is meant to find out")
    add("--expect", metavar="CLAIM", default="", help='free text, or a claim such as "val/top1 > parent + 0.005"')
    add("--tag", metavar="TAG", dest="tags", action="append", default=[], help="a word to find the run by; repeatable")
    add("--parent", metavar="RUN", default="", help="the run to compare with (default: the newest finished of its name)")


def _train_parser() -> argparse.ArgumentParser:
    parser = _parser(
        "train_net.py",
        "Train a model; the run is recorded in exp/<name>_<date>/.",
        "SOLVER.BASE_LR 0.05",
    )
    _add_start(parser)
    add = parser.add_argument
    add(
        "--resume",
        metavar="RUN|auto",
        default="",
        help="go on in that run's folder from its newest checkpoint; auto: the newest unfinished of this name, or a new one",
    )
    add(
        "--code", choices=("tree", "run"), default="tree", help="resume with the working tree's code (default) or the run's own"
    )
    _add_keys(parser, list(FLAG_KEYS))
    add(*_both("--print-config"), action="store_true", help="print the resolved config and end")
    add("--explain", metavar="KEY", default="", help="print a key's meaning, value and origin, and end")
    add(
        *_both("--dry-run"),
        action="store_true",
        help="the preflight: data, learning, resume, scores, speed, end; writes nothing",
    )
    return parser


def _sweep_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="sweep.py",
        usage="sweep.py --config-file FILE --search FILE|KEY=SPEC ... [--trials N] [--seeds N] [--folds K] [--jobs N]\n"
        "       [--sampler S] [--pruner P] [--storage URL] [--json] [flags of train_net.py] [KEY VALUE ...]\n"
        "       sweep.py --resume SWEEP [--output-dir DIR] [--trials N] [--jobs N]",
        description="Search, repeats and folds: each trial is an ordinary run, recorded in exp/<name>_<date>/. A SPEC is "
        "grid(0.1,0.01), choice(a,b), uniform(a,b), loguniform(a,b) or int(a,b).",
        epilog="Any key of config/defaults.py can follow as KEY VALUE or KEY=VALUE; it then holds for every trial.",
    )
    add = parser.add_argument
    add("--search", metavar="FILE|KEY=SPEC", nargs="+", help="what is searched: KEY=SPEC words, or a YAML of KEY: SPEC lines")
    add("--trials", metavar="N", type=int, help="points that are tried (default: a grid once; else 20)")
    add("--seeds", metavar="N", type=int, help="runs a point, of the seeds SEED, SEED + 1, ... (default 1)")
    add("--folds", metavar="K", type=int, help="k-fold cross-validation: K runs a point and seed; the test set stays apart")
    add("--jobs", metavar="N", type=int, help="trials at a time on this machine (default 1)")
    add("--resume", metavar="SWEEP", default="", help="go on with that sweep where it was; on a finished one: its table again")
    add(
        "--sampler",
        choices=("grid", "random", "tpe"),
        help="what chooses points (default: grid if all is grid(...), else tpe)",
    )
    add("--pruner", choices=("none", "median", "hyperband"), help="ends trials early that fall behind (default none)")
    add("--storage", metavar="URL", help="a database, where several machines join in (default: a journal file of the sweep)")
    add("--json", action="store_true", help="print the result as JSON to stdout and nothing else")
    _add_start(parser)
    _add_keys(parser, list(FLAG_KEYS))
    return parser


def _test_parser() -> argparse.ArgumentParser:
    parser = _parser(
        "test_net.py",
        "Test a run's best weights, or any weights with --config-file FILE TEST.WEIGHT FILE.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", nargs="?", default="", help=A_RUN)
    add("--split", choices=("test", "val", "train"), default="test", help="which part of the data")
    add(*_both("--config-file"), metavar="FILE", help="a recipe, for weights that belong to no run")
    add("--json", action="store_true", help="print the scores as JSON to stdout and nothing else")
    _add_keys(parser, ["--device", "--output-dir"])
    return parser


def _extract_parser() -> argparse.ArgumentParser:
    parser = _run_parser(
        "extract.py",
        "Features of a folder of images by a run's best weights: a .npz file with the arrays features and paths.",
        "TEST.IMS_PER_BATCH 64",
    )
    add = parser.add_argument
    add("folder", metavar="FOLDER", help="of images, read in order of their names, those of folders in it too; or one image")
    add("-o", "--out", metavar="FILE", default="", help="a .npz; default: features_<FOLDER>.npz in the working directory")
    add("--json", action="store_true", help="print what was done as JSON to stdout and nothing else")
    _add_keys(parser, ["--device", "--output-dir"])
    return parser


def _predict_parser() -> argparse.ArgumentParser:
    parser = _run_parser(
        "predict.py",
        "What a run's best model says of image files: class and probability, a line each, as soon as it is known.",
        "TEST.IMS_PER_BATCH 64",
    )
    add = parser.add_argument
    add("files", metavar="FILE", nargs="+", help="images, folders of them, or - for paths from stdin, one a line")
    add("--json", action="store_true", help="print a JSON object a line to stdout and nothing else: --json > FILE")
    add("--csv", action="store_true", help="print CSV to stdout and nothing else: --csv > FILE")
    add("--top", metavar="N", type=int, default=3, help="name the N most probable classes (default 3)")
    add("--grid", metavar="FILE", default="", help="draw the first 48 images with what was said of them")
    _add_keys(parser, ["--device", "--output-dir"])
    return parser


def _export_parser() -> argparse.ArgumentParser:
    parser = _run_parser(
        "export.py",
        "A run's best model as files that need no Fieldbook, checked against it, with examples and a model card.",
    )
    add = parser.add_argument
    add("--to", metavar="FORMATS", default="onnx,torch-export,safetensors", help="by commas; default: %(default)s")
    add("-o", "--out", metavar="DIR", default="", help="default: export/ in the run's folder")
    add("--json", action="store_true", help="print what was done as JSON to stdout and nothing else")
    _add_keys(parser, ["--output-dir"])
    return parser


def _replay_parser() -> argparse.ArgumentParser:
    parser = _run_parser(
        "replay.py",
        "Make the step of a run whose loss or gradient was NaN or infinite again, exactly; nothing is written.",
        "SOLVER.PRECISION fp32",
    )
    add = parser.add_argument
    add("--anomaly", action="store_true", help="autograd's anomaly detection: the operation whose backward gives a NaN")
    add("--json", action="store_true", help="print what is found as JSON to stdout and nothing else")
    _add_keys(parser, ["--device", "--output-dir"])
    return parser


def _analyze_parser() -> argparse.ArgumentParser:
    commands = "\n".join(f"  {name:<10} {text}" for name, text in ANALYSES.items())
    parser = Parser(
        prog="analyze.py",
        usage="analyze.py COMMAND [RUN] [--config-file FILE] [--file FILE] [--steps N] [--seconds N] [KEY VALUE ...]",
        description=f"Look at data, model and solver before training; no run is made or touched.\n\ncommands:\n{commands}",
        epilog="Any key of config/defaults.py can follow as KEY VALUE or KEY=VALUE.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("command", metavar="COMMAND", choices=list(ANALYSES), help="one of those above")
    add("run", metavar="RUN", nargs="?", default="", help="activations, ranked: a run's folder, its name, a part of it, last")
    add("--split", choices=("test", "val", "train"), default="test", help="activations, ranked: which part of the data")
    add("--count", metavar="N", type=int, help="how many images (activations: 12) or queries (ranked: 8)")
    add("--top", metavar="K", type=int, help="ranked: how many of the nearest images (default 8)")
    add(*_both("--config-file"), metavar="FILE", help="the recipe, a YAML such as configs/train_digits_softmax.yml")
    add("--file", metavar="FILE", default="", help="where the picture (or the trace) goes; default: the working directory")
    add("--steps", metavar="N", type=int, help="optimizer steps of lr-find (default 150) and profile (default 10)")
    add("--seconds", metavar="N", type=float, default=None, help="how long speed may take, about (default 60)")
    add("--json", action="store_true", help="speed: print what was measured as JSON to stdout and nothing else")
    _add_keys(parser, list(FLAG_KEYS))
    return parser


# What `make_parser` knows.
TOOLS = {
    "train": _train_parser,
    "test": _test_parser,
    "analyze": _analyze_parser,
    "replay": _replay_parser,
    "extract": _extract_parser,
    "sweep": _sweep_parser,
    "predict": _predict_parser,
    "export": _export_parser,
}
