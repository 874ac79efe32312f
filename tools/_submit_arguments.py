"""The command line of submit.py: its own flags, then `--`, then the command of the job."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from utils.arguments import Parser
from utils.errors import UserError
from utils.names import check_run_name

_TIMES = (  # how SLURM writes a time, most precise first
    r"(?P<d>\d+)-(?P<h>\d+)(:(?P<m>\d+))?(:(?P<s>\d+))?",
    r"(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)",
    r"(?P<m>\d+)(:(?P<s>\d+))?",
)


def parse_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The flags, with `minutes` and `slurm` (name -> value, or True) read, and the command behind `--`.

    Raises:
        UserError: anything that does not fit.
    """
    words = list(argv)
    cut = words.index("--") if "--" in words else len(words)
    args = make_parser().parse_args(words[:cut])
    command = words[cut + 1 :]
    if not command:
        raise UserError("what shall the job run? submit.py [FLAG ...] -- tools/train_net.py --config-file FILE ...")
    args.minutes = parse_time(args.time)
    args.slurm = {key.lstrip("-"): value or True for key, _, value in (pair.partition("=") for pair in args.slurm)}
    for flag in ("nodes", "gpus", "processes", "cpus_per_gpu"):
        if getattr(args, flag) < (flag == "nodes"):
            raise UserError(f"--{flag.replace('_', '-')} {getattr(args, flag)}: too few")
    if args.name:
        check_run_name(args.name)
    return args, command


def parse_time(text: str) -> int:
    """Minutes, rounded up, of a time as SLURM writes it: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS.

    Raises:
        UserError: it is none, or 0.
    """
    for pattern in _TIMES:
        if match := re.fullmatch(pattern, text):
            days, hours, minutes, seconds = (int(match.groupdict().get(unit) or 0) for unit in "dhms")
            total = 1440 * days + 60 * hours + minutes + -(-seconds // 60)
            if total:
                return total
    raise UserError(f"--time {text}: expected minutes, HH:MM:SS or D-HH:MM:SS, and more than none")


def make_parser() -> argparse.ArgumentParser:
    """The flags before `--`."""
    parser = Parser(
        prog="submit.py",
        usage="submit.py [FLAG ...] -- TOOL [WORD ...]",
        description="Submit a tool, such as tools/train_net.py, to SLURM: one process a GPU, from a copy of the code.",
        epilog="Everything behind -- is the command, as it would be typed here.",
    )

    def add(flag: str, *, help: str, **options: object) -> None:
        spellings = dict.fromkeys([flag, "--" + flag[2:].replace("-", "_")])
        parser.add_argument(*spellings, help=help, **options)  # type: ignore[arg-type]

    add(
        "--cluster",
        choices=("slurm", "local", "debug"),
        default="slurm",
        help="slurm (default); local: the same here, in the background; debug: one process here, in the foreground",
    )
    add("--nodes", type=int, default=1, metavar="N", help="1 unless given")
    add("--gpus", type=int, default=1, metavar="N", help="on each node, 1 unless given; 0: none")
    add(
        "--processes",
        type=int,
        default=0,
        metavar="N",
        help="on each node; unless given, one a GPU, of sweep.py and other tools that do not train together one in all",
    )
    add(
        "--time", default="60", metavar="TIME", help="the longest it may take: minutes, HH:MM:SS or D-HH:MM:SS; 60 unless given"
    )
    add("--cpus-per-gpu", type=int, default=0, metavar="N", help="cores for each GPU's process; else what the cluster gives")
    add("--mem", default="", metavar="SIZE", help="memory of each node, such as 64G; else what the cluster gives")
    add("--partition", default="", metavar="NAME", help="SLURM's partition")
    add("--account", default="", metavar="NAME", help="whose time it is")
    add("--name", default="", metavar="NAME", help="the job's name in the queue; else the run's")
    add(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY[=VALUE]",
        help="any further flag of sbatch, such as qos=high or exclusive; repeatable",
    )
    return parser
