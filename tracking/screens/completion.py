"""Completion of all tools in bash and zsh, by shtab from their parsers; runs are completed from the folder exp/."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from utils.errors import UserError

_FILES = {"notes", "file", "files", "config_file", "grid", "out", "search", "source"}
_FOLDERS = {"destination", "old", "output_dir", "flag_output_dir", "to", "folder"}
_RUNS = {"run", "runs", "other", "against", "resume", "parent"}
_PREAMBLE = {
    "bash": '_fieldbook_runs() { compgen -W "last $(command ls exp 2>/dev/null)" -- "$1"; }',
    "zsh": '_fieldbook_runs() { compadd last ${(f)"$(command ls exp 2>/dev/null)"} }',
}
# shtab completes the command exp.py; whoever types `python tools/exp.py` is helped by leaving the first word out. A word in
# capitals is a key of the config.
_PYTHON = """
_fieldbook_keys="%s"
_fieldbook_python() {
    local tool="${COMP_WORDS[1]##*/}" word="${COMP_WORDS[COMP_CWORD]}"
    local complete="_shtab_${tool//./_}"
    [[ $COMP_CWORD -gt 1 ]] && declare -F "$complete" >/dev/null || return
    if [[ "$word" == [A-Z]* ]]; then
        COMPREPLY=($(compgen -W "$_fieldbook_keys" -- "$word"))
        return
    fi
    COMP_WORDS=("${COMP_WORDS[@]:1}")
    COMP_CWORD=$((COMP_CWORD - 1))
    "$complete"
}
complete -o bashdefault -o default -F _fieldbook_python python python3
"""


def script(parsers: Mapping[str, argparse.ArgumentParser], keys: Sequence[str], shell: str) -> str:
    """The text to evaluate in `shell` (bash or zsh): eval "$(python tools/exp.py completion bash)".

    Args:
        parsers: by the file of their tool, such as exp.py.
        keys: of the config.

    Raises:
        UserError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise UserError("shell completion needs shtab: pip install shtab") from error
    made = []
    for name, parser in parsers.items():
        parser.prog = name
        for action in _actions(parser):
            _say_what_it_is(action, shtab)
        made.append(shtab.complete(parser, shell=shell, preamble=_PREAMBLE[shell]))
    return "\n".join(made) + (_PYTHON % " ".join(keys) if shell == "bash" else "")


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Those of the parser and of its commands."""
    found = list(parser._actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [inner for sub in action.choices.values() for inner in _actions(sub)]
    return found


def _say_what_it_is(action: Any, shtab: Any) -> None:
    """What shtab reads from an argument: its `complete`."""
    if action.dest in _RUNS:
        action.complete = dict.fromkeys(_PREAMBLE, "_fieldbook_runs")
    elif action.dest in _FILES:
        action.complete = shtab.FILE
    elif action.dest in _FOLDERS:
        action.complete = shtab.DIRECTORY
