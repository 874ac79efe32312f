"""The rules of the house that a program can see: who imports whom, sizes, safe loading."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "utils": set(),
    "config": {"utils"},
    "layers": {"utils"},
    "modeling": {"utils", "config", "layers"},
    "data": {"utils", "config"},
    "solver": {"utils", "config"},
    "tracking": {"utils"},
    "engine": {"utils", "config", "layers", "data", "modeling", "solver", "tracking"},
}
FILES = sorted(p for room in (*ALLOWED, "tools") for p in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Top-level names that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        others = imports(path) & set(ALLOWED) - {room}
        assert others <= ALLOWED[room], path


def test_tracking_is_layered() -> None:
    """Each part of tracking/ knows only the record (the files of tracking/ itself) and the parts that stand before it; but that
    a run starts its mirrors, which are processes of their own."""
    parts = ("reading", "mirrors", "judging", "screens", "keeping", "page", "commands")
    for path in (ROOT / "tracking").rglob("*.py"):
        own = parts.index(path.parent.name) if path.parent.name in parts else -1
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and path.relative_to(ROOT / "tracking").as_posix() not in (
                "__init__.py",
                "run.py",
            ):
                part = (node.module or "").removeprefix("tracking.").partition(".")[0]
                assert part not in parts or parts.index(part) <= own, (path, node.module)


def test_tracking_and_utils_and_config_import_no_torch() -> None:
    code = "import sys; sys.path.insert(0, '.'); import tracking, utils.logger, config; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_files_and_functions_are_read_in_one_sitting() -> None:
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno <= 50, (path, node.name)


def test_public_functions_and_classes_have_docstrings() -> None:
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), (path, node.name)


def test_nothing_loads_or_runs_what_it_should_not() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called, words = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert called not in (
                "eval",
                "exec",
                "pickle.load",
                "pickle.loads",
                "os.system",
                "yaml.load",
                "yaml.unsafe_load",
            ), path
            assert called != "torch.load" or words.get("weights_only") == "True", path
            assert words.get("shell") != "True", path
        assert "LOAD_TRUNCATED_IMAGES" not in path.read_text(), path


def test_cfg_is_read_in_factories_only() -> None:
    for path in FILES:
        if (
            path.parent.name == "tools"
            or path.name in ("build.py", "card.py", "launch.py", "named_weights.py", "testing.py", "resume.py")
            or path.parts[-2:] == ("engine", "ending.py")
            or "config" in path.parts
        ):
            continue
        assert "cfg." not in path.read_text(), path


def test_every_key_has_a_comment_and_is_read() -> None:
    from config.defaults import get_defaults
    from config.dump import comments

    code = "\n".join(p.read_text() for p in FILES if "config" not in p.parts)
    for key in get_defaults().flat():
        assert comments().get(key), key
        assert key.rpartition(".")[2] in code, key


def test_no_tool_bears_the_name_of_a_library_module() -> None:
    for path in (ROOT / "tools").glob("*.py"):
        assert path.stem not in sys.stdlib_module_names


def test_packages_of_setup_py_are_all_there() -> None:
    listed = (ROOT / "setup.py").read_text()
    for path in ROOT.rglob("__init__.py"):
        parts = path.parent.relative_to(ROOT).parts
        if parts[0] in ALLOWED:
            assert f'"{parts[0]}"' in listed and (len(parts) == 1 or f'".{parts[1]}"' in listed), path
