"""The errors that a user can mend: raised anywhere, caught once at the top of each tool."""

from __future__ import annotations


class UserError(Exception):
    """What the user gave is wrong. The message is one line that names the remedy; the tool ends with exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # one line, whatever a message quotes


class NoUsableCheckpoint(UserError):
    """Checkpoints were written, but none of them can be used. The message lists what was tried; exit code 3."""

    exit_code = 3


class RunFailed(Exception):
    """The run itself failed in a way that needs no traceback, such as a loss that became NaN; exit code 1."""

    exit_code = 1
