"""Completion of `exp.py` in bash and zsh, by shtab from the parser itself; runs are completed from the folder exp/."""

from __future__ import annotations

import argparse
from typing import Any

from utils.errors import UserError

_FILES = {"notes", "file"}
_FOLDERS = {"destination", "old", "output_dir", "to"}
_RUNS = {"run", "runs", "other", "against"}
_PREAMBLE = {
    "bash": '_fieldbook_runs() { compgen -W "last $(command ls exp 2>/dev/null)" -- "$1"; }',
    "zsh": '_fieldbook_runs() { compadd last ${(f)"$(command ls exp 2>/dev/null)"} }',
}
# shtab completes the command exp.py; whoever types `python tools/exp.py` is helped by leaving the first word out.
_PYTHON = """
_fieldbook_python() {
    [[ "${COMP_WORDS[1]}" == *exp.py && $COMP_CWORD -gt 1 ]] || return
    COMP_WORDS=("${COMP_WORDS[@]:1}")
    COMP_CWORD=$((COMP_CWORD - 1))
    _shtab_exp_py
}
complete -o bashdefault -o default -F _fieldbook_python python python3
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The text to evaluate in `shell` (bash or zsh): eval "$(python tools/exp.py completion bash)".

    Raises:
        UserError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise UserError("shell completion needs shtab: pip install shtab") from error
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for sub in commands.choices.values():
        for action in sub._actions:
            _say_what_it_is(action, shtab)
    made = shtab.complete(parser, shell=shell, preamble=_PREAMBLE[shell])
    return made + (_PYTHON if shell == "bash" else "")


def _say_what_it_is(action: Any, shtab: Any) -> None:
    """What shtab reads from an argument: its `complete`."""
    if action.dest in _RUNS:
        action.complete = dict.fromkeys(_PREAMBLE, "_fieldbook_runs")
    elif action.dest in _FILES:
        action.complete = shtab.FILE
    elif action.dest in _FOLDERS:
        action.complete = shtab.DIRECTORY
