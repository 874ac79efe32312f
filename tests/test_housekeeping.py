"""What lies beside the code is true: one version everywhere, forms and editor files that fit the project, recipes that say
what they cost and give."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, of_the_template

import config

RECIPES = sorted([*(ROOT / "configs").glob("train_*.yml"), *(ROOT / "configs" / "debug").glob("*.yml")])
TARGETS = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def read(name: str) -> str:
    """A file of the repository. A project that was made from the template leaves some of them out, and its copier.yml."""
    if not (ROOT / name).is_file() and not (ROOT / "copier.yml").is_file():
        pytest.skip(f"this project has no {name}")
    return (ROOT / name).read_text(encoding="utf-8")


def project(key: str) -> str:
    """A line of pyproject.toml's [project] (tomllib came with Python 3.11)."""
    found = re.search(rf'^{key} = "(.*)"$', read("pyproject.toml"), re.MULTILINE)
    assert found, key
    return found[1]


@of_the_template
def test_there_is_one_version() -> None:
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", read("CHANGELOG.md"), re.MULTILINE)
    citation = yaml.safe_load(read("CITATION.cff"))
    assert released[0] == (project("version"), str(citation["date-released"]))
    assert citation["version"] == project("version")
    assert released == sorted(released, reverse=True, key=lambda entry: [int(part) for part in entry[0].split(".")])


@of_the_template
def test_the_changelog_keeps_its_form() -> None:
    text = read("CHANGELOG.md")
    assert text.index("## [Unreleased]") < text.index("## [0")
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@of_the_template
def test_the_citation_is_one_of_cff_1_2() -> None:
    """The keys that the schema demands, no others than it knows, and their types; of a person or of an entity."""
    known = {
        "abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords", "license",
        "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact", "repository-code",
        "title", "type", "url", "version",
    }  # fmt: skip
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"authors", "cff-version", "message", "title"} <= set(citation) <= known
    assert citation["cff-version"] == "1.2.0" and citation["type"] in ("software", "dataset")
    assert isinstance(citation["version"], str) and isinstance(citation["date-released"], date)
    assert f'license = {{ text = "{citation["license"]}" }}' in read("pyproject.toml")
    for author in citation["authors"]:
        assert "name" in author or {"family-names", "given-names"} & set(author)


@of_the_template
@pytest.mark.parametrize("form", ["bug", "idea"])
def test_issue_forms_are_what_github_reads(form: str) -> None:
    content = yaml.safe_load(read(f".github/ISSUE_TEMPLATE/{form}.yml"))
    assert {"name", "description", "body"} <= set(content) <= {"name", "description", "title", "labels", "assignees", "body"}
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    assert fields and all(field["type"] in ("textarea", "input", "dropdown", "checkboxes") for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(re.fullmatch(r"[\w-]+", field["id"]) and field["attributes"]["label"] for field in fields)


@of_the_template
def test_a_bug_is_reported_with_what_the_record_knows() -> None:
    text = read(".github/ISSUE_TEMPLATE/bug.yml")
    assert "exp.py show RUN --json" in text and "env.txt" in text
    assert set(yaml.safe_load(read(".github/ISSUE_TEMPLATE/config.yml"))) <= {"blank_issues_enabled", "contact_links"}


def test_make_helps_with_every_target() -> None:
    said = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert TARGETS and all(re.search(rf"^  make {target} +\S", said, re.MULTILINE) for target in TARGETS), said
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", read("Makefile"), re.MULTILINE)).split()
    assert sorted(phony) == sorted(TARGETS)
    assert all(len(line) <= 100 for line in said.splitlines())


@of_the_template
def test_make_targets_that_are_named_exist() -> None:
    for name in ("README.md", "CONTRIBUTING.md", ".ci/run", ".github/pull_request_template.md"):
        for words in re.findall(r"(?:^|`)make ((?:[a-z]+ ?)+)", read(name), re.MULTILINE):
            assert set(words.split()) <= set(TARGETS), (name, words)


def test_hooks_before_a_commit_fetch_nothing_and_are_make_targets() -> None:
    repos = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    entries = [hook["entry"] for hook in repos[0]["hooks"]]
    assert all(hook["language"] == "system" and not hook["pass_filenames"] for hook in repos[0]["hooks"])
    assert [entry.removeprefix("make ") for entry in entries] == ["lint", "house"]
    house = re.search(r"^house:.*\n\t(.*)$", read("Makefile"), re.MULTILINE)
    assert house and all((ROOT / word).is_file() for word in house[1].split() if word.startswith("tests/"))
    assert "make lint" in read(".ci/run") and "make test" in read(".ci/run")


def test_github_runs_what_ci_runs() -> None:
    (job,) = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def launches() -> list[Any]:
    """The launch configurations of .vscode."""
    found: list[Any] = json.loads(read(".vscode/launch.json"))["configurations"]
    return found


@pytest.mark.parametrize("number", range(len(launches())))
def test_what_the_editor_launches_is_there(number: int) -> None:
    launch = launches()[number]
    if "module" in launch:
        assert launch["module"] == "pytest"
        return
    program = Path(launch["program"].replace("${workspaceFolder}", str(ROOT)))
    assert program.is_file() and program.parent.name == "tools"
    args = config.parse_arguments(launch["args"], tool="train" if program.stem == "train_net" else "test")
    if args.config_file:
        assert config.load_file(ROOT / args.config_file, args.overrides).NAME


def test_the_editor_is_told_what_ruff_is_told() -> None:
    width = re.search(r"^line-length = (\d+)$", read("pyproject.toml"), re.MULTILINE)
    settings = json.loads(read(".vscode/settings.json"))
    assert width and settings["[python]"]["editor.rulers"] == [int(width[1])]
    assert f"max_line_length = {width[1]}" in read(".editorconfig")
    assert settings["[python]"]["editor.defaultFormatter"] in json.loads(read(".vscode/extensions.json"))["recommendations"]


def test_text_is_the_same_on_every_system() -> None:
    """Digests are of the bytes on disk: no file of the code has other line ends than git gives it."""
    assert "* text=auto eol=lf" in read(".gitattributes").splitlines()
    assert not [path for path in RECIPES if b"\r" in path.read_bytes()]


@of_the_template
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_a_recipe_says_its_command_its_time_and_its_score(recipe: Path) -> None:
    name = recipe.relative_to(ROOT)
    lines = recipe.read_text(encoding="utf-8").splitlines()
    head = "\n".join(line.removeprefix("# ") for line in lines[: next(i for i, x in enumerate(lines) if x[:1] != "#")])
    assert head.startswith(f"python tools/train_net.py --config-file {name} "), head
    assert re.search(r"^time: .*?(second|minute|hour|min| s)", head, re.MULTILINE), head
    assert "debug" in recipe.parts or re.search(r"expected: (test|val)/\w+ ", head), head
    assert recipe.stem == config.load_file(recipe).NAME


@of_the_template
def test_scores_that_recipes_claim_stand_in_the_table_of_recipes() -> None:
    """Each has its line there, with how it was measured or that it was not."""
    table = read("docs/recipes.md")
    for recipe in RECIPES:
        expected = re.search(r"expected: (test/\w+)", recipe.read_text(encoding="utf-8"))
        if expected:
            line = re.search(rf"^\| `{recipe.relative_to(ROOT)}` \|.*$", table, re.MULTILINE)
            assert line and f"`{expected[1]}`" in line[0], recipe
