"""The pictures of the documents: one command makes them all of real runs, and the documents show each, and no other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT, command, of_the_template

PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
LIMITS = {"one": 200_000, "all": 600_000}  # bytes
READMES = ("README.md", "README.zh-CN.md")

pytestmark = of_the_template


def shown(page: Path) -> list[Path]:
    """The pictures of a page, in order."""
    return [(page.parent / link).resolve() for link in PICTURE.findall(page.read_text(encoding="utf-8")) if "://" not in link]


def test_every_picture_that_is_shown_is_there_and_each_is_shown() -> None:
    pages = [*(ROOT / name for name in READMES), *(ROOT / "docs").rglob("*.md")]
    found = {picture for page in pages for picture in shown(page)}
    assert [str(picture) for picture in sorted(found) if not picture.is_file()] == []
    made = set((ROOT / "docs" / "pictures").iterdir())
    assert made <= found
    sizes = [path.stat().st_size for path in made]
    assert max(sizes) < LIMITS["one"] and sum(sizes) < LIMITS["all"]


def test_both_languages_have_the_same_sections_and_pictures() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)
    assert shown(ROOT / READMES[0]) == shown(ROOT / READMES[1])
    for sort in (r"^#+ ", r"^\| ", r"^- ", r"^```"):
        assert len(re.findall(sort, english, re.MULTILINE)) == len(re.findall(sort, chinese, re.MULTILINE)), sort
    blocks = (re.findall(r"^```.*?^```$", text, re.MULTILINE | re.DOTALL) for text in (english, chinese))
    assert next(blocks) == next(blocks)


@pytest.mark.slow
def test_the_command_makes_all_pictures(tmp_path: Path) -> None:
    done = command("docs/pictures.py", "--tiny", "--out", str(tmp_path / "pictures"))
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    if "stays as it is" in done.stdout:
        assert not shutil.which("chromium")
        wanted.remove("report.png")
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == wanted
    assert "nn.GELU()" in (tmp_path / "pictures" / "diff.svg").read_text()
