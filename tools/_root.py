"""Importing this puts the repository that this very file belongs to first on `sys.path`, and refuses any other.

So the copied code in a run is runnable on its own: `python exp/<run>/scripts/tools/train_net.py` runs *that* code,
whatever is installed or lies in the working directory.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("config", "data", "engine", "layers", "modeling", "solver", "tracking", "utils")


def _need_posix(platform: str) -> None:
    """Ends a command on native Windows, which has none of the file locks, signals and renames that records rely on."""
    if platform == "win32":
        print(
            "error: Fieldbook runs on Linux and macOS; on Windows run it within WSL 2 (docs/howto/platforms.md)",
            file=sys.stderr,
        )
        sys.exit(2)


def _claim() -> None:
    sys.path[:] = [str(ROOT), *(p for p in sys.path if p != str(ROOT))]
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        if spec is None or spec.origin is None or ROOT not in Path(spec.origin).resolve().parents:
            found = spec.origin if spec else "nowhere"
            sys.exit(f"error: the package {room!r} was found in {found}, not in {ROOT}; is the copy of the code whole?")


_need_posix(sys.platform)
_claim()


def _open_streams() -> None:
    """Gives a command that was started with closed streams (`<&-`) empty ones: else Python has None for them, and the next
    file that is opened, such as the curves of a run, would get what is written to number 2."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def run_tool(main: Callable[[Sequence[str]], int]) -> None:
    """Calls `main(argv)` and ends the process: what a user can mend is one line on stderr, never a traceback."""
    from utils.errors import RunFailed, UserError

    _open_streams()
    os.umask(os.umask(0o022) | 0o002)  # no file of a run is for everybody to write
    try:
        code = main(sys.argv[1:])
    except (UserError, RunFailed) as error:
        rank = os.environ.get("RANK", "0")
        print(f"error: {error}" if rank == "0" else f"error on rank {rank}: {error}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        code = 0
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        from engine.blame import report

        print(f"error: {report(error)}\n{''.join(traceback.format_exception(error))}", file=sys.stderr)
        code = 1
    _leave(code)


def _leave(code: int) -> NoReturn:
    """Ends the process. One that was a rank ends without tearing Python down: a thread of the process group may still be
    letting go of the last message's tensors, and one that asks for a Python that is gone aborts the process."""
    if getattr(sys.modules.get("engine.distributed"), "was_rank", False):
        logging.shutdown()
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
