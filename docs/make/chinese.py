"""docs/zh.md: README.zh-CN.md as a page of the site, with the links that lead there from docs/."""

from __future__ import annotations

import re
from pathlib import Path

from docs.make.markdown import WRITTEN

_IMAGE = re.compile(r"(?:<picture>.*?)?<img ([^>]*)>(?:.*?</picture>)?", flags=re.DOTALL)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)]+)\)")


def page(root: Path) -> str:
    """The whole page."""
    text = (root / "README.zh-CN.md").read_text(encoding="utf-8")
    text = _IMAGE.sub(_image, text)
    return f"{WRITTEN.format(source='README.zh-CN.md')}\n\n{_LINK.sub(lambda found: _link(root, found), text)}"


def _image(found: re.Match[str]) -> str:
    """An <img>, alone or in a <picture>, in Markdown: the site moves no path in HTML."""
    said = dict(re.findall(r'(\w+)="([^"]*)"', found[1]))
    return f"![{said.get('alt', '')}]({said['src']})"


def _link(root: Path, found: re.Match[str]) -> str:
    """A link from the project's root as one from docs/; of a file that the site does not have the text alone."""
    picture, text, target = found.groups()
    if re.match(r"[a-z]+:|#", target):
        return found[0]
    place = {"README.md": "index.md"}.get(target) or target.removeprefix("./").removeprefix("docs/")
    return f"{picture}[{text}]({place})" if (root / "docs" / place.partition("#")[0]).is_file() else text
