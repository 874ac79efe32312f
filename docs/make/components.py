"""docs/reference/components.md: what can be named in a config, read from the source: every `@REGISTRY.register("name")`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.make.markdown import cell, code, first_sentence, head, table

ROOMS = ("config", "data", "layers", "modeling", "solver", "tracking", "engine")
INTRODUCTION = """What can be named in a YAML without writing code. A file that you add to one of these folders registers what
it defines, and its name can be used at once."""
KEYS = {
    "DATASETS": ("Data sets", "`DATASETS.TRAIN`, `VAL`, `TEST`; those with a place as `name:PLACE`."),
    "TRANSFORMS": ("Transforms", "`INPUT.TRANSFORMS_TRAIN`, `TRANSFORMS_TEST`; and `torchvision/NAME` of its transforms v2."),
    "SAMPLERS": ("Samplers", "`DATALOADER.SAMPLER`."),
    "MODELS": ("Models", "`MODEL.NAME`; and `torchvision/NAME`, `timm/NAME`."),
    "LOSSES": ("Losses", "`LOSS.NAME`, or several weighted ones in `LOSS.TERMS`."),
    "SCHEDULES": ("Schedules", "`SOLVER.SCHEDULE`, over the optimizers of torch.optim in `SOLVER.OPTIMIZER_NAME`."),
    "EVALUATORS": ("Evaluators", "`TEST.EVALUATOR`."),
    "HOOKS": ("Hooks of your own", "`HOOKS`, in their order; a file in `engine/hooks/` registers one."),
}


@dataclass(frozen=True)
class Entry:
    """Something that has a name in a registry, or a place in a folder."""

    registry: str
    name: str
    said: str
    file: str


def page(root: Path) -> str:
    """The whole page."""
    lines = head("Components", "the docstrings of what is registered", INTRODUCTION)
    entries, registries = find(root)
    for registry in sorted(registries, key=lambda name: (list(KEYS).index(name) if name in KEYS else len(KEYS), name)):
        title, key = KEYS.get(registry, (f"{registries[registry].capitalize()}s", ""))
        rows = [entry for entry in entries if entry.registry == registry]
        lines += [f"## {title}", "", key, "", *_table("name", rows)]
        if registry == "HOOKS":
            lines += ["## Hooks of the template", "", "Switched on by the keys of what they do.", ""]
            lines += _table("class", [entry for entry in entries if entry.registry == "Hook"])
    lines += ["## Pictures", "", "Drawn into a run's `figures/` (`TEST.FIGURES`) and by `tools/analyze.py`.", ""]
    lines += _table("function", list(pictures(root)))
    lines += [
        "## Recipes",
        "",
        "`--config-file`; `_BASE_` builds on them.",
        "",
        *table(("file", "what it takes and gives"), recipes(root)),
    ]
    return "\n".join(lines)


def _table(column: str, entries: list[Entry]) -> list[str]:
    return table((column, "what it is", "file"), [(code(e.name), cell(e.said), code(e.file)) for e in entries])


def find(root: Path) -> tuple[list[Entry], dict[str, str]]:
    """All entries, by file and line; and the registries with the kind of what they hold. Hooks are entries of "Hook"."""
    entries: list[Entry] = []
    registries: dict[str, str] = {}
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        file = path.relative_to(root).as_posix()
        alone = sum(len(list(_registered(node))) for node in tree.body) == 1  # then the file says what its one entry is
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "Registry":
                registries[ast.unparse(node.targets[0])] = ast.literal_eval(node.value.args[0])
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                said = first_sentence(ast.get_docstring(tree if alone else node))
                entries += [Entry(registry, name, said, file) for registry, name in _registered(node)]
                bases = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
                if "Hook" in bases and path.parent.name == "hooks":
                    entries.append(Entry("Hook", node.name, said, file))
    return entries, registries


def _registered(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """(registry, name) of each `@REGISTRY.register("name")` of a definition."""
    for decorator in getattr(node, "decorator_list", []):
        if isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute) and decorator.func.attr == "register":
            yield ast.unparse(decorator.func.value), ast.literal_eval(decorator.args[0])


def pictures(root: Path) -> Iterator[Entry]:
    """The functions of engine/figures and engine/analysis that draw."""
    for folder in ("figures", "analysis", "retrieval"):
        for path in sorted((root / "engine" / folder).glob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("draw_"):
                    said = first_sentence(ast.get_docstring(node))
                    yield Entry("", node.name, said, path.relative_to(root).as_posix())


def recipes(root: Path) -> Iterator[tuple[str, str]]:
    """Each YAML with the comment at its head, but for its first line, the command."""
    for path in sorted((root / "configs").rglob("*.yml")):
        comments = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            comments.append(line.removeprefix("#").strip())
        yield code(path.relative_to(root).as_posix()), cell(" ".join(comments[1:]))
