"""Submit a tool to SLURM, one process a GPU, or run the same job on this machine.

    python tools/submit.py --nodes 2 --gpus 8 --time 12:00:00 -- tools/train_net.py --config-file configs/x.yml
    python tools/submit.py --cluster local --gpus 2 -- tools/train_net.py --config-file configs/x.yml
    python tools/submit.py --cluster debug -- tools/train_net.py --config-file configs/x.yml

The job runs a copy of the code as it is now, whatever is edited while it waits. Its time running out, or being preempted, it
saves, queues itself again and goes on. docs/slurm.md has the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import _root
from _submit_arguments import parse_arguments

import config
from tracking import environment, snapshot
from tracking.wording import duration
from utils.errors import UserError
from utils.files import write_atomic, write_json
from utils.logger import setup_logger
from utils.names import check_run_name

LOG = logging.getLogger("fieldbook.tools")
SAVE_SECONDS = 120  # SIGUSR1 comes so long before the time is up
ALONE = ("analyze.py", "exp.py", "export.py", "extract.py", "mirror.py", "pack.py", "predict.py", "replay.py", "sweep.py")


@dataclass(frozen=True)
class Job:
    """What is submitted.

    Attributes:
        words: the tool and its words, as given.
        folder: of this job, in the folder of runs: the copied code, the log, what submitit keeps.
        name: in SLURM's queue.
        processes: on each node.
    """

    words: list[str]
    folder: Path
    name: str
    processes: int


def main(argv: Sequence[str]) -> int:
    """Checks, copies, submits, and says how to follow the job."""
    args, words = parse_arguments(argv)
    setup_logger()
    submitit = _submitit(args.cluster)
    job = _plan(args, words)
    try:
        job.folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{job.folder}: cannot be made ({error.strerror or error}); take another --output-dir") from error
    try:
        command, copied = copy_code(job)
        _print_plan(args, job, copied)
        number = submit(submitit, args, job, command)
    except BaseException:
        shutil.rmtree(job.folder, ignore_errors=True)
        raise
    print(_how_to_follow(args.cluster, number, job.folder))
    return 0


def copy_code(job: Job) -> tuple[list[str], int]:
    """Copies the code into the job's folder; the command that runs it there, and the number of files.

    A word that names a copied file (the tool, a YAML) names its copy in that command.

    Raises:
        UserError: the code is too large, or the tool is not among what is copied.
    """
    copy = job.folder / "scripts"
    taken = snapshot.take(_root.ROOT, copy, job.folder.parent.parent)
    write_atomic(job.folder / "scripts.sha256", snapshot.checksum_lines(taken, "scripts"))
    write_json(job.folder / "job.json", {"git": environment.git_facts(_root.ROOT)})
    if _inside(job.words[0]) not in taken.files:
        raise UserError(f"{job.words[0]} would not be copied with the code: git ignores it")
    recipe = _value_of("--config-file", job.words)
    if recipe and _inside(recipe) not in taken.files:
        LOG.warning("%s is not copied with the code: it is read when the job starts, so leave it as it is until then", recipe)

    def copied(word: str) -> str:
        head, equals, value = word.rpartition("=")
        return f"{head}{equals}{copy / _inside(value)}" if _inside(value) in taken.files else word

    return [copied(word) for word in job.words], len(taken.files)


def submit(submitit: Any, args: argparse.Namespace, job: Job, command: Sequence[str]) -> str:
    """Hands the job to SLURM, to a process in the background (local), or becomes it (debug); its id.

    Raises:
        UserError: SLURM refuses it.
    """
    options = {
        "signal": f"USR1@{SAVE_SECONDS}", "requeue": True, "partition": args.partition, "account": args.account,
        "mem": args.mem, **args.slurm,
    }  # fmt: skip
    cpus = args.cpus_per_gpu * max(1, args.gpus // job.processes)
    executor = submitit.AutoExecutor(job.folder, cluster=args.cluster)
    executor.update_parameters(
        name=job.name, timeout_min=args.minutes, nodes=args.nodes, tasks_per_node=job.processes,
        gpus_per_node=args.gpus or None, cpus_per_task=cpus or None, stderr_to_stdout=True,
        slurm_additional_parameters={key: value for key, value in options.items() if value},
        # One that fails ends the others, which would wait for it; and srun does not take this number from sbatch.
        slurm_srun_args=["--kill-on-bad-exit=1", *([f"--cpus-per-task={cpus}"] if cpus else [])],
    )  # fmt: skip
    script = job.folder / "scripts" / "tools" / "_job.py"
    words = [sys.executable, str(script.resolve()), os.getcwd(), *command]
    signal = submitit.helpers.environment_variables(SUBMITIT_PREEMPT_SIGNAL="USR1")  # when a local job's time is up
    with submitit.helpers.clean_env(), signal, _background(args.cluster):  # a job submitted by a job is no part of it
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # where submitit repeats what sbatch said
                submitted = executor.submit(os.execv, sys.executable, words)
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            said = str(error).strip().removeprefix("sbatch: error: ")
            raise UserError(f"sbatch refuses the job: {said or 'it says nothing'}") from error
        if args.cluster == "debug":
            submitted.results()  # this process becomes the job
    return str(submitted.job_id)


@contextlib.contextmanager
def _background(cluster: str) -> Iterator[None]:
    """A local job outlives this command, so it must not hold on to its output: whoever reads a pipe would wait."""
    if cluster != "local":
        yield
        return
    sys.stdout.flush()
    kept, nothing = [os.dup(1), os.dup(2)], os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nothing, number)
        yield
    finally:
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)
        os.close(nothing)


def _plan(args: argparse.Namespace, words: list[str]) -> Job:
    """Everything that can be wrong with the command is found here, before anything is copied or queued."""
    tool = _inside(words[0])
    if not tool.endswith(".py") or not (_root.ROOT / tool).is_file():
        raise UserError(f"{words[0]}: no such tool in {_root.ROOT}, seen from {Path.cwd()}")
    alone = Path(tool).name in ALONE
    processes = args.processes or (1 if alone else max(1, args.gpus))
    if alone and args.nodes > 1:
        raise UserError(f"{tool} is one process: --nodes 1")
    if args.cluster != "slurm" and args.nodes > 1:
        raise UserError(f"--cluster {args.cluster} is this machine: --nodes 1")
    if args.cluster == "debug" and processes > 1:
        raise UserError("--cluster debug is one process: --gpus 1; --cluster local runs several")
    runs, name = _value_of("--output-dir", words), Path(tool).stem
    if tool == "tools/train_net.py":
        runs, name = _check_training(words[1:], args.nodes * processes)
    name = args.name or check_run_name(name)
    folder = Path(runs or "exp") / ".jobs" / f"{name}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    while folder.exists():
        folder = folder.with_name(folder.name + "+")
    return Job(words, folder, name, processes)


def _check_training(words: Sequence[str], ranks: int) -> tuple[str, str]:
    """The config as the job will read it: its folder of runs and its name.

    Raises:
        UserError: an unknown key, a missing file, or whatever else is wrong with it.
    """
    args = config.parse_arguments(words)
    cfg = config.load(args)
    if ranks * cfg.SOLVER.ACCUMULATE > cfg.SOLVER.IMS_PER_BATCH and not args.resume:  # that goes by the run's own config
        raise UserError(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} cannot be split over {ranks} ranks x SOLVER.ACCUMULATE "
            f"{cfg.SOLVER.ACCUMULATE}"
        )
    return cfg.OUTPUT_DIR, check_run_name(cfg.NAME or "run")


def _submitit(cluster: str) -> Any:
    """The library, and SLURM's commands where they are needed.

    Raises:
        UserError: one of them is not there.
    """
    try:
        import submitit
        import submitit.helpers
    except ImportError as error:
        raise UserError(f"submitting a job needs submitit ({error}): pip install submitit") from error
    missing = [name for name in ("sbatch", "srun") if cluster == "slurm" and shutil.which(name) is None]
    if missing:
        raise UserError(f"there is no {missing[0]} on PATH here: submit where SLURM is, or take --cluster local or debug")
    return submitit


def _print_plan(args: argparse.Namespace, job: Job, copied: int) -> None:
    def count(number: int, one: str, several: str) -> str:
        return f"{number} {one if number == 1 else several}{' on each' if args.nodes > 1 else ''}"

    place = f"{args.nodes} node{'s' * (args.nodes > 1)}" if args.cluster == "slurm" else "this machine"
    parts = [place, count(job.processes, "process", "processes"), count(args.gpus, "GPU", "GPUs")]
    print(f"{job.name}: {', '.join(parts)}, at most {duration(60 * args.minutes)}")
    print(f"code    {job.folder / 'scripts'} ({copied} files; later edits do not reach the job)", flush=True)


def _how_to_follow(cluster: str, number: str, folder: Path) -> str:
    """The job's id, its log, and what to type."""
    log = folder / f"{number}_0_log.out"
    state, end = {"slurm": (f"squeue -j {number}", f"scancel {number}"), "local": (f"ps {number}", f"kill {number}")}[cluster]
    lines = [("job", number), ("log", str(log)), ("follow", f"tail -F {shlex.quote(str(log))}"), ("state", state)]
    return "\n".join(f"{name:<7} {text}" for name, text in [*lines, ("stop", f"{end}   (it saves first)")])


def _inside(word: str) -> str:
    """A path's name below the root of the code, "" where it lies elsewhere."""
    path = Path(word).resolve()
    return path.relative_to(_root.ROOT).as_posix() if word and _root.ROOT in path.parents else ""


def _value_of(flag: str, words: Sequence[str]) -> str:
    spellings = (flag, "--" + flag[2:].replace("-", "_"))
    for word, after in zip(words, [*words[1:], ""], strict=True):
        head, equals, value = word.partition("=")
        if head in spellings:
            return value if equals else after
    return ""


if __name__ == "__main__":
    _root.run_tool(main)
