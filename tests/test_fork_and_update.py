"""A project made of this template is whole, and an update brings in what changed here beside what was changed there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, command, newest, read_json
from test_documents_follow_the_code import links
from test_house_rules import imports

from tracking import snapshot

copier = pytest.importorskip("copier", reason="needs copier")
QUESTIONS = yaml.safe_load((ROOT / "copier.yml").read_text())
EXTRAS = QUESTIONS["extras"]["default"]
LEAF, SEED = 'Renamed("LEAF", "LEAVES")', 'Renamed("SEED", "SEEDS", since=2)'
ANSWERS = {"name": "Leaf Study", "author": "Ada O'Neill", "year": 2031}
SMALL = ("config/", "configs/", "docs/", "benchmarks/common", "tests/test_benchmarks")  # all of it takes seconds


def git(folder: Path, *words: str) -> str:
    """A git command by somebody."""
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(folder: Path, tag: str = "") -> None:
    """All that is there as a commit."""
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", "a change")
    if tag:
        git(folder, "tag", tag)


def template(folder: Path, tag: str = "v1.0.0", only: tuple[str, ...] = ()) -> Path:
    """This working tree (or the files at its root and those that begin with `only`) as a repository of its own."""
    snapshot.take(ROOT, folder)
    for path in [p for p in folder.rglob("*") if p.is_file() and only]:
        name = path.relative_to(folder).as_posix()
        if "/" in name and not name.startswith(only):
            path.unlink()
    git(folder, "init", "-qb", "main")
    commit(folder, tag)
    return folder


def fork(source: Path | str, folder: Path, **answers: Any) -> Path:
    """A project of a template, with its first commit."""
    copy(source, folder, **answers)
    git(folder, "init", "-qb", "main")
    commit(folder)
    return folder


def copy(source: Path | str, folder: Path, vcs_ref: str | None = None, **answers: Any) -> Path:
    """`copier copy`, without its questions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an uncommitted template is none of ours
        copier.run_copy(str(source), folder, {**ANSWERS, **answers}, vcs_ref=vcs_ref, defaults=True, quiet=True)
    return folder


def update(folder: Path, **options: Any) -> list[str]:
    """`copier update --defaults`; the files that are left in conflict."""
    copier.run_update(folder, defaults=True, overwrite=True, quiet=True, **options)
    return git(folder, "diff", "--name-only", "--diff-filter=U").split()


def edit(path: Path, old: str, new: str) -> None:
    """Replaces one part of a file."""
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def toml(path: Path) -> dict[str, Any]:
    """A TOML file."""
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    return dict(tomllib.loads(path.read_text()))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template's root, config/, configs/ and docs/, as v1.0.0."""
    return template(tmp_path_factory.mktemp("template") / "fieldbook", only=SMALL)


def test_a_project_is_this_repository_under_its_name(small: Path, tmp_path: Path) -> None:
    """What is written twice says the same: but for name, version, author and licence, pyproject.toml is ours."""
    project = copy(small, tmp_path / "leaves")
    own, ours = toml(project / "pyproject.toml"), toml(ROOT / "pyproject.toml")
    facts = own["project"]
    assert (facts.pop("name"), facts.pop("version"), facts.pop("authors")) == ("leaf-study", "0.1.0", [{"name": "Ada O'Neill"}])
    assert facts.pop("license") == {"text": "MIT"} and facts.pop("description").startswith("Leaf Study")
    for key in ("name", "version", "description", "license", "authors"):
        ours["project"].pop(key, None)
    for extra in ("bench", "docs"):
        ours["project"]["optional-dependencies"].pop(extra)
    ours["tool"]["mypy"]["files"].remove("docs")
    assert repr(own).replace("leaf-study[", "fieldbook[") == repr(ours)
    assert ours["project"]["optional-dependencies"]["all"] == [f"fieldbook[{','.join(EXTRAS)}]"]
    lines, before = ((at / "Makefile").read_text().splitlines() for at in (project, ROOT))
    changed = [line.replace(" --extra dev", " --extra dev --extra docs") for line in lines if line not in before]
    assert [line for line in changed if "configs/baseline.yml" not in line and line not in before] == [] and len(changed) == 3
    assert not {line.partition(":")[0] for line in lines} & {"docs"} and "docs" not in "".join(lines)
    assert (project / "config/defaults.py").read_text() == (ROOT / "config/defaults.py").read_text()
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers["_commit"] == "v1.0.0" and answers["_src_path"] == str(small) and answers["name"] == "Leaf Study"


def test_nothing_of_the_templates_own_goes_along(small: Path, tmp_path: Path) -> None:
    project = copy(small, tmp_path / "leaves")
    names = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith(".jinja") or name.startswith((".git/", "benchmarks"))]
    assert not names & {"copier.yml", "CHANGELOG.md", "CITATION.cff", "README.zh-CN.md", "tests/test_benchmarks.py"}
    text = "".join((project / name).read_text() for name in names if "/" not in name and name != "LICENSE")
    assert not names & {"mkdocs.yml", "docs/zh.md", "docs/pictures.py"} and not any(n.startswith("docs/make/") for n in names)
    for name in [name for name in names if name.endswith(".md")]:
        for link in links(project / name):
            place = link.partition("#")[0]
            assert re.match("[a-z]+:", link) or not place or ((project / name).parent / place).exists(), (name, link)
    assert "{{" not in text and "{%" not in text and "Leaf Study" in (project / "README.md").read_text()


@pytest.mark.parametrize("licence", ["MIT", "Apache-2.0", "BSD-3-Clause", "proprietary"])
def test_the_licence_is_the_one_that_was_chosen(licence: str, small: Path, tmp_path: Path) -> None:
    project = copy(small, tmp_path / "leaves", licence=licence)
    text = (project / "LICENSE").read_text()
    first, size = {
        "MIT": ("MIT License", 1_100),
        "Apache-2.0": (" " * 33 + "Apache License", 11_000),
        "BSD-3-Clause": ("BSD 3-Clause License", 1_400),
        "proprietary": ("Copyright (c) 2031 Ada O'Neill. All rights reserved.", 0),
    }[licence]
    assert text.startswith(first) and re.search(r"Copyright (\(c\) )?2031,? Ada O'Neill", text)
    assert len(text) - (0 if licence == "MIT" else len((ROOT / "LICENSE").read_text())) > size
    assert "The Fieldbook authors" in text and "Permission is hereby granted, free of charge" in text  # as its licence asks
    assert text.endswith("\n") and not text.endswith("\n\n") and "\n\n\n" not in text
    assert f'license = {{ text = "{licence}" }}' in (project / "pyproject.toml").read_text()


@pytest.mark.parametrize("extras", [[], ["search", "slurm"]], ids=["none", "two"])
def test_the_extras_are_those_that_were_chosen(extras: list[str], small: Path, tmp_path: Path) -> None:
    project = copy(small, tmp_path / "leaves", extras=extras, name="叶子", author="李雷")
    facts = toml(project / "pyproject.toml")["project"]
    assert facts["name"] == "project" and facts["authors"] == [{"name": "李雷"}]
    assert facts["optional-dependencies"]["all"] == ([f"project[{','.join(extras)}]"] if extras else [])


def test_a_name_that_no_file_can_hold_is_asked_again(small: Path, tmp_path: Path) -> None:
    for wrong in ({"name": 'a "b"'}, {"name": "-- -"}, {"author": "a\\b"}):
        with pytest.raises(ValueError, match="Validation error for question"):
            copy(small, tmp_path / "leaves", **wrong)


def first_run(project: Path, code: Path, folder: Path) -> dict[str, float]:
    """The scores of what `make train` runs, with the code of a repository."""
    line = next(line for line in (project / "Makefile").read_text().splitlines() if "train_net.py" in line)
    words = shlex.split(line.replace("$(RUN)", ""))
    words[2] = str(project / words[2])
    done = command(*words, "--output-dir", str(folder), "TEST.FIGURES", "false", cwd=code)
    assert done.returncode == 0, done.stderr
    return dict(read_json(newest(folder) / "test.json")["metrics"])


@pytest.mark.slow
def test_a_project_passes_its_tests_and_trains(tmp_path: Path) -> None:
    """From a URL, without tags."""
    source = template(tmp_path / "fieldbook", tag="")
    project = copy(f"git+{source.as_uri()}", tmp_path / "leaves", vcs_ref="HEAD")
    assert first_run(project, project, tmp_path / "exp")["test/top1"] > 0.94
    (project / "configs/train_leaves.yml").write_text("NAME: leaves\nDATASETS: {TRAIN: digits}\n")  # with none of our headers
    (project / "README.md").write_text("# Leaves\n\nmake sure that they are dry\n")
    words = ("tests/test_house_rules.py", "tests/test_housekeeping.py")
    done = command("-m", "pytest", "-p", "no:cacheprovider", "-q", *words, cwd=project)
    assert done.returncode == 0, done.stdout
    for path in (project / "tests").glob("*.py"):
        assert not imports(path) & {"benchmarks", "pages", "test_benchmarks", "test_documents"}, path


@pytest.mark.slow
def test_a_project_for_retrieval_begins_with_retrieval(small: Path, tmp_path: Path) -> None:
    project = copy(small, tmp_path / "leaves", task="retrieval")
    assert "identity_folder:PATH" in (project / "README.md").read_text()
    assert first_run(project, ROOT, tmp_path / "exp")["test/mAP"] > 0.75


def test_an_update_brings_what_changed_here_and_keeps_what_was_changed_there(small: Path, tmp_path: Path) -> None:
    source = shutil.copytree(small, tmp_path / "fieldbook")
    project = fork(source, tmp_path / "leaves")
    edit(project / "config/defaults.py", "_C.HOOKS = ()", "_C.LEAVES = 3  # >= 1 leaves of a plant\n\n_C.HOOKS = ()")
    (project / "modeling/models").mkdir(parents=True)
    (project / "modeling/models/leaf.py").write_text("LEAF = 1\n")
    (project / "README.md").write_text("# Leaves\n")
    edit(project / "config/renamed.py", "\nOURS: Sequence[Renamed] = ()", f"\nOURS: Sequence[Renamed] = ({LEAF},)")
    (project / "configs/train_mnist_lenet.yml").unlink()
    commit(project)

    edit(source / "config/defaults.py", "_C.VERSION = 1", "_C.VERSION = 2")
    edit(source / "config/defaults.py", "_C.SEED = 0", "_C.SEEDS = 0")
    edit(source / "config/renamed.py", "\nRENAMED: Sequence[Renamed] = ()", f"\nRENAMED: Sequence[Renamed] = (\n    {SEED},\n)")
    (source / "config/new.py").write_text("NEW = 1\n")
    (source / "configs/train_mnist_softmax.yml").unlink()
    (source / "configs/train_mnist_lenet.yml").write_text("SEEDS: 1\n")
    edit(source / "Makefile", "pytest -n 2\n", "pytest -n 3\n")
    commit(source, "v1.1.0")

    assert update(project) == []
    merged = (project / "config/defaults.py").read_text()
    assert "_C.LEAVES = 3" in merged and "_C.VERSION = 2" in merged and "_C.SEEDS = 0" in merged
    table = (project / "config/renamed.py").read_text()
    assert LEAF in table and SEED in table
    assert (project / "config/new.py").exists() and not (project / "configs/train_mnist_softmax.yml").exists()
    assert not (project / "configs/train_mnist_lenet.yml").exists()  # what was deleted there stays so
    assert (project / "modeling/models/leaf.py").exists() and (project / "README.md").read_text() == "# Leaves\n"
    lines = (project / "Makefile").read_text()
    assert "pytest -n 3\n" in lines and "configs/baseline.yml" in lines
    assert "_commit: v1.1.0" in (project / ".copier-answers.yml").read_text()


def test_where_both_changed_a_line_both_are_kept_between_markers(small: Path, tmp_path: Path) -> None:
    source = shutil.copytree(small, tmp_path / "fieldbook")
    project = fork(source, tmp_path / "leaves")
    edit(project / "config/defaults.py", "_C.SOLVER.BASE_LR = 0.01 ", "_C.SOLVER.BASE_LR = 0.33 ")
    edit(project / "configs/train_digits_cnn.yml", "MAX_EPOCHS: 15", "MAX_EPOCHS: 16")
    commit(project)
    edit(source / "config/defaults.py", "_C.SOLVER.BASE_LR = 0.01 ", "_C.SOLVER.BASE_LR = 0.02 ")
    edit(source / "config/defaults.py", "_C.SEED = 0", "_C.SEED = 7")
    (source / "configs/train_digits_cnn.yml").unlink()
    commit(source, "v1.1.0")

    assert update(project) == ["config/defaults.py"]
    text = (project / "config/defaults.py").read_text()
    ours, theirs = text.partition("<<<<<<< before updating\n")[2].partition(">>>>>>> after updating\n")[0].split("=======\n")
    assert "BASE_LR = 0.33" in ours and "BASE_LR = 0.02" in theirs and "_C.SEED = 7" in text
    git(project, "checkout", "--ours", "config/defaults.py")
    assert "BASE_LR = 0.33" in (project / "config/defaults.py").read_text()
    git(project, "restore", "--staged", "--worktree", ".")
    assert "MAX_EPOCHS: 16" in (project / "configs/train_digits_cnn.yml").read_text()
    assert not git(project, "status", "--porcelain")


def test_other_answers_are_an_update_too(small: Path, tmp_path: Path) -> None:
    project = fork(small, tmp_path / "leaves")
    assert update(project, data={"licence": "BSD-3-Clause", "extras": ["timm"]}) == []
    assert (project / "LICENSE").read_text().startswith("BSD 3-Clause")
    assert '"leaf-study[timm]"' in (project / "pyproject.toml").read_text()


def test_a_clone_can_be_updated_by_copier_from_then_on(small: Path, tmp_path: Path) -> None:
    """Its answers are written down once, for the commit that it was cloned at (docs/fork.md); it keeps its own files."""
    source = shutil.copytree(small, tmp_path / "fieldbook")
    git(source, "tag", "--delete", "v1.0.0")
    git(tmp_path, "clone", "-q", str(source), "leaves")
    project = tmp_path / "leaves"
    at = git(project, "describe", "--tags", "--always").strip()
    edit(project / "config/defaults.py", "_C.SEED = 0", "_C.SEED = 5")
    commit(project)
    (project / ".copier-answers.yml").write_text(yaml.safe_dump({"_commit": at, "_src_path": str(source), **ANSWERS}))
    commit(project)
    edit(source / "config/defaults.py", "_C.VERSION = 1", "_C.VERSION = 2")
    commit(source)
    assert update(project) == []
    merged = (project / "config/defaults.py").read_text()
    assert "_C.SEED = 5" in merged and "_C.VERSION = 2" in merged
    assert (project / "README.md").read_text() == (ROOT / "README.md").read_text() and (project / "copier.yml").exists()
