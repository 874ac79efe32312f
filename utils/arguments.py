"""Command lines whose mistakes are one line."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from utils.errors import UserError
from utils.full_width import hint


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes no abbreviated flags, and raises UserError where argparse would print a usage block."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """What is wrong, and where the flags are listed."""
        raise UserError(f"{' '.join(message.split())}{hint(message)}; see {self.prog} --help")
