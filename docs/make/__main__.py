"""Writes the pages that follow from the code, and the order of the pages in mkdocs.yml: python -m docs.make [--check]

docs/zh.md, and in docs/reference/ config.md, commands.md, components.md and api.md. They are committed, so that they can be
read without a build; a test says that they are what this command would write now.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT),
    str(ROOT / "tools"),
]  # the tools import each other by their bare names


def pages() -> Iterator[tuple[Path, str]]:
    """Each generated file with what it should hold, the order of all pages last. Nothing here imports torch."""
    from docs.make import api, chinese, commands, components, config_keys, nav

    reference = ROOT / "docs" / "reference"
    yield reference / "config.md", config_keys.page()
    yield reference / "commands.md", commands.page()
    yield reference / "components.md", components.page(ROOT)
    yield reference / "api.md", api.page(ROOT)
    if (ROOT / "README.zh-CN.md").is_file():
        yield ROOT / "docs" / "zh.md", chinese.page(ROOT)
    yield ROOT / "mkdocs.yml", nav.with_nav(ROOT)


def main() -> int:
    """1 where --check finds something to write."""
    parser = argparse.ArgumentParser(prog="python -m docs.make", description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if something would be written")
    check = parser.parse_args().check
    stale = 0
    for path, text in pages():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        print(f"{path.relative_to(ROOT)} {'is not what the code says: python -m docs.make' if check else 'written'}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
