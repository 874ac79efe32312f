"""The command lines of all tools: what their completion is made from."""

from __future__ import annotations

import argparse

import _submit_arguments
import mirror
import pack

from config.parsers import make_parser
from tracking.screens import arguments

OF_CONFIG = {"train_net.py": "train", "test_net.py": "test"}  # what `make_parser` calls them, where it is not their name


def all_parsers() -> dict[str, argparse.ArgumentParser]:
    """The file of each tool and its parser."""
    tools = {"exp.py": arguments.make_parser(""), "submit.py": _submit_arguments.make_parser()}
    tools |= {"mirror.py": mirror.make_parser(), "pack.py": pack.make_parser()}
    for name in ("train_net", "test_net", "analyze", "replay", "extract", "sweep", "predict", "export"):
        tools[f"{name}.py"] = make_parser(OF_CONFIG.get(f"{name}.py", name))
    return tools
