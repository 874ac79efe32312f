"""What the documents say of the code is so: generated pages are up to date, links lead somewhere, the site can be built."""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import ROOT, command, of_the_template
from markdown_it import MarkdownIt
from markdown_it.token import Token

pytestmark = of_the_template
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def test_generated_pages_are_what_the_code_says() -> None:
    done = command("-m", "docs.make", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def tokens(page: Path) -> list[Token]:
    """A page, parsed, with the parts of its lines."""
    flat = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return [part for token in flat for part in (token, *(token.children or []))]


def anchors(page: Path) -> set[str]:
    """What can stand behind the # of a link to the page: headings as GitHub and the site name them, and anchors in HTML."""
    found: set[str] = set()
    parts = tokens(page)
    for heading, inline in zip(parts, parts[1:], strict=False):
        if heading.type == "heading_open":
            words = "".join(child.content for child in inline.children or [])
            name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            found.add(name if name not in found else f"{name}-1")
    html = "".join(token.content for token in parts if token.type in ("html_inline", "html_block"))
    return found | set(re.findall(r'<a (?:id|name)="([^"]+)"', html))


def links(page: Path) -> list[str]:
    """Where its links and pictures lead."""
    found = [
        str(token.attrs.get("href", token.attrs.get("src", "")))
        for token in tokens(page)
        if token.type in ("link_open", "image")
    ]
    html = "".join(token.content for token in tokens(page) if token.type in ("html_inline", "html_block"))
    return found + re.findall(r'(?:href|src|srcset)="([^"]+)"', html)


def problem(page: Path, link: str) -> str:
    """Why a link leads nowhere, or an empty string."""
    if re.match(r"[a-z]+:", link):
        return "" if re.fullmatch(r"(https?://[\w.-]+\.[a-z]+(/\S*)?|mailto:\S+@\S+)", link) else "no address"
    place, _, anchor = link.partition("#")
    target = Path(os.path.normpath(page.parent / place)) if place else page
    if not target.exists():
        return "no such file"
    if page.is_relative_to(DOCS) and not target.is_relative_to(DOCS):
        return "outside of docs/, which the site does not have: name the file, without a link"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return f"no such heading; there are {', '.join(sorted(anchors(target)))}"
    return ""


@pytest.mark.parametrize("page", [pytest.param(page, id=page.relative_to(ROOT).as_posix()) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    wrong = [f"{link}: {said}" for link in links(page) if (said := problem(page, link))]
    assert not wrong, "\n" + "\n".join(wrong)


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# Some `code` here\n\n## Twice\n\n## Twice\n\n<a id='x'></a><a id=\"a.key\"></a>\n")
    page.write_text("[a](other.md#some-code-here) [b](other.md#twice-1) [c](other.md#a.key) [d](https://example.org/x)\n")
    assert not any(problem(page, link) for link in links(page)) and len(links(page)) == 4
    page.write_text('[a](absent.md) [b](other.md#absent) ![c](absent.png) [d](https:/example) <img src="absent.svg">\n')
    assert len([said for link in links(page) if (said := problem(page, link))]) == 5


ROOMS = ("config", "data", "engine", "layers", "modeling", "solver", "tracking", "tools", "utils", "docs", "benchmarks")


def unknown_arguments(source: str) -> list[str]:
    """Names below Args: that the signature does not have; of a class, that of its constructor, or its fields."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", ast.get_docstring(node) or "", flags=re.MULTILINE)
        said = re.findall(r"^    ([*\w][*\w, ]*):", section[1] if section else "", flags=re.MULTILINE)
        init = node if isinstance(node, ast.FunctionDef) else None
        for below in node.body if init is None else []:
            init = below if isinstance(below, ast.FunctionDef) and below.name == "__init__" else init
        known = {argument.arg for argument in ast.walk(init.args) if isinstance(argument, ast.arg)} if init else set()
        known |= {ast.unparse(field.target) for field in node.body if isinstance(field, ast.AnnAssign)}
        found += [f"{node.name}: {name}" for names in said for name in names.replace("*", "").split(", ") if name not in known]
    return found


def test_documented_arguments_are_those_of_the_signature() -> None:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    wrong = [
        f"{path.relative_to(ROOT)}: {name}" for path in files for name in unknown_arguments(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n" + "\n".join(wrong)
    doc = '"""X.\n\n    Args:\n        a, b: of it.\n    """'
    assert unknown_arguments(f"def f(a):\n    {doc}\nclass C:\n    {doc}\n    a: int\n") == ["f: b", "C: b"]


@pytest.mark.slow
def test_the_site_is_built_without_a_broken_link_or_another_host(tmp_path: Path) -> None:
    pytest.importorskip("zensical")
    shutil.copytree(DOCS, tmp_path / "docs")
    (tmp_path / "mkdocs.yml").write_text((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), encoding="utf-8")
    done = command(str(Path(sys.executable).parent / "zensical"), "build", "--strict", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "reference" / "config" / "index.html").read_text(encoding="utf-8")
    assert "SOLVER.BASE_LR" in page
    assert not re.search(
        r'<(script|img|iframe)[^>]* src="https?:|<link[^>]* rel="(stylesheet|preconnect)"[^>]* href="https?:', page
    )
