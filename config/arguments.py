"""How a command line is read. Flags are keys under another name; KEY VALUE pairs may stand anywhere and win over flags."""

from __future__ import annotations

import argparse
import re
from collections.abc import Container, Sequence
from typing import NamedTuple

from config.defaults import get_defaults
from config.parsers import FLAG_KEYS, attribute, make_parser
from utils.errors import UserError
from utils.registry import nearest


class Override(NamedTuple):
    """One value from the command line: the key, the text as typed, and how it was given."""

    key: str
    text: str
    origin: str


_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Za-z0-9_]+)*")
_WIDE = re.compile(rf"{_KEY.pattern}(?P<sign>[\uff1a\uff1d])")  # a full-width colon or equals sign behind a key


def parse_arguments(argv: Sequence[str], tool: str = "train") -> argparse.Namespace:
    """Reads the command line of `tools/train_net.py` (tool "train"), `test_net.py` ("test"), `analyze.py`, `replay.py`,
    `extract.py`, `sweep.py`, `predict.py` or `export.py`.

    The namespace has `overrides`, a list of `Override`: flags first, then KEY VALUE pairs, which win; that of a sweep also
    `search`, the words after --search.

    Raises:
        UserError: an unknown flag, a key without a value, a word that is neither.
    """
    parser = make_parser(tool)
    search, argv = _take_search(argv) if tool == "sweep" else ([], argv)
    # A camera's IMG_0001.JPG looks like a key: where files are named, only what begins like a known one is taken for it
    sections = {key.partition(".")[0] for key in get_defaults().flat()} if tool == "predict" else None
    flags, pairs, words = _separate(parser, list(argv), sections)
    empty = [flag for flag in flags if flag in ("--resume=", "--parent=", "--config-file=", "--config_file=")]
    if empty:  # a shell variable that is not set; taken as "none", it would start another run than was meant
        raise UserError(f"{empty[0][:-1]} is given without a value")
    args, left = parser.parse_known_args([*flags, *(["--", *words] if words else [])])
    left = [word for word in left if word != "--"]  # that one is ours
    if left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    args.overrides = [
        Override(key, getattr(args, attribute(flag)), f"flag {flag}")
        for flag, key in FLAG_KEYS.items()
        if getattr(args, attribute(flag), None) is not None
    ] + pairs
    args.search = search
    return args


def _take_search(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """(the words after each --search, up to a flag or a KEY VALUE pair; all other words)."""
    found: list[str] = []
    rest: list[str] = []
    inside = False
    for word in argv:
        if word.partition("=")[0] == "--search":
            inside, first = True, word.partition("=")[2]
            found += [first] if first else []
        elif inside and not word.startswith("-") and not _KEY.fullmatch(word):
            found.append(word)
        elif inside and not found:
            raise UserError(f"--search takes a FILE or KEY=SPEC, got {word!r}; write KEY=grid(1,2) as one word, in quotes")
        else:
            inside = False
            rest.append(word)
    if inside and not found:
        raise UserError("--search is given without a FILE or KEY=SPEC")
    return found, rest


def _separate(
    parser: argparse.ArgumentParser, argv: list[str], sections: Container[str] | None = None
) -> tuple[list[str], list[Override], list[str]]:
    """Flags with their values, KEY VALUE pairs, other words: argparse cannot tell `KEY -0.1` from a flag.

    Args:
        sections: what a key may begin with; None: anything.
    """
    options = parser._option_string_actions
    flags: list[str] = []
    pairs: list[Override] = []
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        head, equals, value = word.partition("=")
        is_key = _KEY.fullmatch(head) and (sections is None or head.partition(".")[0] in sections)
        if word.startswith("--") or head in options:
            action = options.get(head)
            if action is None and word != "--":
                raise UserError(f"unknown flag {head}{nearest(head, [o for o in options if o.startswith('--')])}")
            flags.append(word)
            if action is not None and action.nargs != 0 and not equals:
                # Joined, so that a value may begin with a dash.
                flags[-1] = f"{head}={_value(head, next(rest, None), options)}"
        elif equals and is_key:
            pairs.append(Override(head, value, "command line"))
        elif is_key and not equals:
            pairs.append(Override(word, _value(word, next(rest, None), options), "command line"))
        elif sections is None and (wide := _WIDE.match(word)):
            raise UserError(f"{word}: {wide['sign']!r} is no ASCII; write KEY VALUE or KEY=VALUE")
        else:
            words.append(word)
    return flags, pairs, words


def _value(word: str, value: str | None, options: Container[str]) -> str:
    """The word after a flag or key; another flag is none."""
    if value is None or value.partition("=")[0] in options:
        raise UserError(f"{word} needs a value: {word} VALUE")
    return value
