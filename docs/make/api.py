"""docs/reference/api.md: what code of yours imports, read from the source: its head as it stands there, and its docstring."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from docs.make.markdown import first_sentence, head

INTRODUCTION = """For code of your own in the project, or beside it with the project's folder first on `sys.path`. Everything
takes plain arguments; only functions that are called `build_...` or `make_...` read the config. B x C x H x W is batch x
channels x height x width."""

# Title -> (file, names): a reader's way from the config to a finished model.
CONTENTS = {
    "Config": [("config/load.py", ["load_file", "load_run"]), ("utils/errors.py", ["UserError"])],
    "Names": [("utils/registry.py", ["Registry"])],
    "Data": [("data/build.py", ["build_splits", "make_data_loader"]), ("data/dataset.py", ["Dataset"])],
    "The loop": [
        ("engine/build.py", ["build_task", "build_trainer"]),
        ("engine/task.py", ["Task"]),
        ("engine/trainer.py", ["Trainer"]),
    ],
    "Hooks": [("engine/hooks/base.py", ["Hook"])],
    "Evaluation": [("engine/evaluators/classification.py", ["ClassificationEvaluator"])],
    "The record": [("tracking/start.py", ["start_run"]), ("tracking/run.py", ["Run"])],
    "A finished model": [
        ("engine/shipping/predictor.py", ["load_predictor", "Predictor", "Prediction"]),
        ("engine/features.py", ["extract"]),
    ],
}


def page(root: Path) -> str:
    """The whole page."""
    lines = head("Classes and functions", "the docstrings", INTRODUCTION)
    for title, files in CONTENTS.items():
        lines += [f"## {title}", ""]
        for file, names in files:
            source = (root / file).read_text(encoding="utf-8")
            found = {getattr(node, "name", ""): node for node in ast.parse(source).body}
            for name in names:
                lines += _entry(found[name], source, file)
    return "\n".join(lines)


def _entry(node: ast.stmt, source: str, file: str) -> list[str]:
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    lines = [f"### {node.name}", "", "```py", f"from {file.removesuffix('.py').replace('/', '.')} import {node.name}"]
    if isinstance(node, ast.FunctionDef):
        return [*lines, "", *_heading(node, source), "```", "", *_docstring(node), ""]
    methods = [method for method in node.body if isinstance(method, ast.FunctionDef)]
    made = [line for method in methods if method.name == "__init__" for line in _heading(method, source, node.name)]
    shown = [f"- `{_short(m)}`: {first_sentence(ast.get_docstring(m))}" for m in methods if not m.name.startswith("_")]
    return [
        *lines,
        *(["", *made] if made else []),
        "```",
        "",
        *_docstring(node),
        "",
        *(["**Methods**", "", *shown, ""] if shown else []),
    ]


def _heading(node: ast.FunctionDef, source: str, name: str = "") -> list[str]:
    """The lines of a function's head as they stand in the source; of a constructor, as the class `name` is called."""
    lines = source.splitlines()[node.lineno - 1 : node.body[0].lineno - 1]
    text = re.sub(r":\s*(#.*)?$", "", textwrap.dedent("\n".join(lines)).rstrip())
    if name:
        text = re.sub(r"\s*-> None$", "", re.sub(r"^def __init__\((\s*)self(, |(?=,)|(?=\)))", rf"{name}(\1", text))
        text = text.replace(f"{name}(\n    ,", f"{name}(")
    return text.splitlines()


def _short(node: ast.FunctionDef) -> str:
    arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args) if a.arg != "self"]
    star = [f"*{node.args.vararg.arg}"] if node.args.vararg else ["*"] if node.args.kwonlyargs else []
    keywords = [a.arg for a in node.args.kwonlyargs] + ([f"**{node.args.kwarg.arg}"] if node.args.kwarg else [])
    return f"{node.name}({', '.join([*arguments, *star, *keywords])})"


def _docstring(node: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    """As Markdown: what stands below Args: and the like becomes a list, what is indented elsewhere a block as it stands."""
    section = drawn = False
    for line in (ast.get_docstring(node) or "").splitlines():
        section = section and (not line or line.startswith(" "))
        if drawn and line and not line.startswith(" "):
            yield from ("```", "")
            drawn = False
        if re.fullmatch(r"(Args|Raises|Returns|Attributes|Yields):", line):
            section = True
            yield from (f"**{line[:-1]}**", "")
        elif section:
            found = re.match(r"    (\S[^:]*): ", line)
            yield f"- `{found[1]}`: {line[found.end() :]}" if found else f"  {line.strip()}".rstrip()
        else:
            if line.startswith("    ") and not drawn:
                yield "```text"
                drawn = True
            yield line[4:] if drawn else line
    if drawn:
        yield "```"
