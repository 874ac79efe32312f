"""The command lines of all tools: what their completion is made from."""

from __future__ import annotations

import argparse

import _submit_arguments
import mirror
import pack

from config.parsers import TOOLS
from tracking.screens import arguments

FILES = {"train": "train_net", "test": "test_net"}  # of those that are called otherwise than their file


def all_parsers() -> dict[str, argparse.ArgumentParser]:
    """The file of each tool and its parser."""
    tools = {"exp.py": arguments.make_parser(""), "submit.py": _submit_arguments.make_parser()}
    tools |= {"mirror.py": mirror.make_parser(), "pack.py": pack.make_parser()}
    return tools | {f"{FILES.get(name, name)}.py": make() for name, make in TOOLS.items()}
