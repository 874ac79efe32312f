"""What a run may be called: a name that is safe as a folder on any system and as a word on any command line."""

from __future__ import annotations

import re

from utils.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def check_run_name(name: str) -> str:
    """`name`, if it is English letters, digits and `. _ -`, at most 100, not beginning with `.` or `-`.

    Raises:
        UserError: it is not.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"a run's name is English letters (a-z, A-Z), digits and . _ - (at most 100, not beginning with . or -), got "
            f"{name[:120]!r}; give another one with --name"
        )
    return name
