"""The documents are true: every block of code of a page runs, top to bottom, in one fresh copy of the project.

How a page is written:
    ```bash                         run line by line; each ends with 0 (or, after <!-- exit: 2 --> on the line before, with 2)
    ```python title="a/path.py"     a file that the reader writes; any language
    ```python                       a script, run in the copy
    ```text                         output, or anything that is shown only; yaml and json without a title likewise
    ```sh                           a command that is shown only, after <!-- not run: the reason --> on the line before
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, of_the_template
from pages import Block, blocks_of

from tracking import snapshot

pytestmark = of_the_template
COPIED = ROOT / "docs" / "zh.md"  # README.zh-CN.md, by docs.make
PAGES = sorted({*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")} - {COPIED})
TRANSLATIONS = [page for page in PAGES if page.name.endswith(".zh-CN.md")]
SECONDS = 300  # for one command; it takes some on a quiet machine
# The shell's folder and exported variables go on from one line to the next, as in one terminal.
BEFORE = 'cd "$(cat "$SESSION/cwd")"; . "$SESSION/exports"'
AFTER = 'pwd > "$SESSION/cwd"; export -p > "$SESSION/exports"'


def name_of(page: Path) -> str:
    """The page as a reader names it."""
    return page.relative_to(ROOT).as_posix()


def runnable() -> list[Any]:
    """The pages that run something; each starts processes that import torch."""
    found = [page for page in PAGES if page not in TRANSLATIONS and any(block.runs for block in blocks_of(page))]
    return [pytest.param(page, id=name_of(page), marks=pytest.mark.slow) for page in found]


def environment(folder: Path) -> dict[str, str]:
    """That of a reader: `python` is this interpreter, git knows a name, pictures need no screen."""
    known = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "PYTHONPATH", "COV_"))}
    who = {f"GIT_{role}_{what}": "reader@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**known, **who, "PATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "COLUMNS": "100", "SESSION": str(folder)}


def project(folder: Path) -> Path:
    """A fresh copy of the project as a clone would be, with one commit."""
    copy = folder / "project"
    snapshot.take(ROOT, copy)
    git = "git init -q -b main && git add -A && git commit -q -m start"
    subprocess.run(["bash", "-c", git], cwd=copy, env=environment(folder), check=True, capture_output=True)
    return copy


def run(words: list[str], cwd: Path, env: dict[str, str]) -> tuple[int | None, str]:
    """(exit code, all that was printed) of a command; None where it took too long, and with all its children was ended."""
    with subprocess.Popen(
        words, cwd=cwd, env=env, text=True, start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            said, _ = process.communicate(timeout=SECONDS)
            return process.returncode, said
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            return None, said


def follow(page: Path, folder: Path, copy: Path) -> str:
    """Does what a reader of the page does, in `copy`; what went wrong, with its line, or an empty string."""
    (folder / "cwd").write_text(str(copy))
    (folder / "exports").write_text("")
    return next(filter(None, (execute(block, folder, copy) for block in blocks_of(page))), "")


def execute(block: Block, folder: Path, copy: Path) -> str:
    """One block of it."""
    if block.title:
        (copy / block.title).parent.mkdir(parents=True, exist_ok=True)
        (copy / block.title).write_text(block.text, encoding="utf-8")
    if not block.runs:
        return ""
    steps = block.commands() if block.language == "bash" else [(block.line, block.text)]
    for line, text in steps:
        shell = ["bash", "-c", f"{BEFORE}\n{text}\ncode=$?; {AFTER}; exit $code"]
        words = shell if block.language == "bash" else [sys.executable, "-c", text]
        code, said = run(words, copy, environment(folder))
        if code is None:
            return f"{line}: still running after {SECONDS} s:\n{text}\n\n{said[-6000:]}"
        if code != block.exit_code:
            return f"{line}: exit code {code}, not {block.exit_code}:\n{text}\n\n{said[-6000:]}"
    return ""


@pytest.mark.parametrize("page", runnable())
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    problem = follow(page, tmp_path, project(tmp_path))
    assert not problem, f"{name_of(page)}:{problem}"


@pytest.mark.parametrize("page", [pytest.param(page, id=name_of(page)) for page in PAGES])
def test_every_block_says_what_it_is(page: Path) -> None:
    wrong = [f"{name_of(page)}:{block.line}: {block.problem()}" for block in blocks_of(page) if block.problem()]
    assert not wrong, "\n" + "\n".join(wrong)


def bare_blocks(page: Path) -> list[tuple[str, str, str]]:
    """The blocks that say what to do, without their comments, which are translated."""
    found = []
    for block in blocks_of(page):
        if block.runs or block.title or block.language in ("sh", "yaml"):
            lines = [re.sub(r"(^|\s+)#.*", "", line).rstrip() for line in block.text.splitlines()]
            found.append((block.language, block.title, "\n".join(line for line in lines if line)))
    return found


@pytest.mark.parametrize("page", [pytest.param(page, id=name_of(page)) for page in TRANSLATIONS])
def test_a_translation_has_the_blocks_of_the_english_page(page: Path) -> None:
    assert bare_blocks(page) == bare_blocks(page.with_name(page.name.replace(".zh-CN", "")))


WRONG = {
    "a block without a language": "```\nls\n```\n",
    "a sh block without": "```sh\nsbatch x\n```\n",
    "a file outside": '```python title="../x.py"\n```\n',
    "a prompt": "```bash\n$ ls\n```\n",
    "the language c without": "```c\n```\n",
}


@pytest.mark.parametrize("problem", WRONG)
def test_a_block_of_no_known_kind_is_named(problem: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(f"# A page\n\n{WRONG[problem]}")
    (block,) = blocks_of(tmp_path / "page.md")
    assert block.line == 3 and block.problem().startswith(problem)


def test_a_page_is_one_session_and_its_first_untrue_line_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    text = """
    ```python title="deep/said.py"
    WORD = "hello"
    ```
    ```bash
    # a folder and a variable go on
    cd deep
    export WORD=hello
    ```
    ```bash
    python -c "import os, said; \\
        assert os.environ['WORD'] == said.WORD"
    ```
    <!-- exit: 2 -->
    ```bash
    ls absent
    ```
    <!-- not run: there is no such command -->
    ```sh
    absent
    ```
    """
    page.write_text(textwrap.dedent(text))
    assert not any(block.problem() for block in blocks_of(page))
    assert follow(page, tmp_path, tmp_path) == ""
    page.write_text("```python\nprint('told')\nraise SystemExit(3)\n```\n")
    assert follow(page, tmp_path, tmp_path).startswith("1: exit code 3, not 0:")
    page.write_text("```bash\ntrue\nfalse  # no\n```\n")
    assert follow(page, tmp_path, tmp_path) == "3: exit code 1, not 0:\nfalse  # no\n\n"
