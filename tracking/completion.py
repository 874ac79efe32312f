"""Completion of `exp.py` in bash and zsh, made from the parser itself: no package needed."""

from __future__ import annotations

import argparse

from utils.errors import UserError

_SCRIPT = """\
# eval "$(python tools/exp.py completion {shell})"
_fieldbook_exp() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" command="" i
    # The first word after exp.py that is no flag is the command.
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${{COMP_WORDS[i]}}" in
            *exp.py|python*|-*) ;;
            *) command="${{COMP_WORDS[i]}}"; break ;;
        esac
    done
    local flags=""
    case "$command" in
{cases}
    esac
    if [[ "$word" == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$word"))
    elif [[ -z "$command" ]]; then
        COMPREPLY=($(compgen -W "{commands}" -- "$word"))
    else
        COMPREPLY=($(compgen -W "last $(command ls exp 2>/dev/null)" -- "$word") $(compgen -f -- "$word"))
    fi
}}
complete -F _fieldbook_exp exp.py ./exp.py tools/exp.py ./tools/exp.py
# `python tools/exp.py` too; other uses of python keep completing files.
_fieldbook_python() {{
    if [[ "${{COMP_WORDS[1]}}" == *exp.py && $COMP_CWORD -gt 1 ]]; then
        _fieldbook_exp
    else
        COMPREPLY=($(compgen -f -- "${{COMP_WORDS[COMP_CWORD]}}"))
    fi
}}
complete -o filenames -F _fieldbook_python python python3
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The text to evaluate in `shell` (bash or zsh).

    Raises:
        UserError: another shell.
    """
    if shell not in ("bash", "zsh"):
        raise UserError(f"completion is there for bash and zsh, not {shell!r}")
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    cases = []
    for name, sub in commands.choices.items():
        flags = [flag for action in sub._actions for flag in action.option_strings if flag.startswith("--")]
        cases.append(f'        {name}) flags="{" ".join(f for f in flags if "_" not in f)}" ;;')
    head = "autoload -U +X bashcompinit && bashcompinit\n" if shell == "zsh" else ""
    return head + _SCRIPT.format(shell=shell, cases="\n".join(cases), commands=" ".join(commands.choices))
