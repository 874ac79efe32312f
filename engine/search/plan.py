"""What a sweep is: the facts of its start in `<folder of runs>/.sweeps/<name>/sweep.json`, the words of each of its trials."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.search.spec import as_text, described
from tracking import snapshot
from tracking.environment import git_facts
from utils.errors import UserError
from utils.files import write_atomic, write_json

SCHEMA = 1
RECIPE = "config.yml"
POINTS = 20  # that are tried where nobody says how many


@dataclass
class Sweep:
    """The facts of a sweep.

    Attributes:
        folder: of runs, as it was given; relative to `cwd`.
        search: key -> SPEC as it was given.
        words: of the command line of every trial, but for its recipe.
        recipe: what its --config-file says, as a YAML that stands in RECIPE; "": there is none.
        settings: the resolved config that all trials share, by dotted key.
        trials: points; 0: the whole grid.
        threads: OMP_NUM_THREADS of a trial; "": as it is.
    """

    name: str
    folder: str
    cwd: str
    search: dict[str, str]
    words: list[str]
    settings: dict[str, Any]
    why: str = ""
    tags: list[str] = field(default_factory=list)
    recipe: str = ""
    sampler: str = "tpe"
    pruner: str = "none"
    trials: int = 0
    seeds: int = 1
    folds: int = 0
    jobs: int = 1
    storage: str = ""
    threads: str = ""
    root: str = ""
    git: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def path(self) -> Path:
        """Where its own files lie; a name with a dot, so that it is no run."""
        return sweep_path(Path(self.folder), self.name)

    @property
    def seed(self) -> int:
        """The first seed of each point."""
        return int(self.settings["SEED"])

    @property
    def epochs(self) -> int:
        """Of a trial, unless the epochs are searched."""
        return int(self.settings["SOLVER.MAX_EPOCHS"])

    def runs(self) -> list[tuple[int, int]]:
        """(seed, fold) of each run of a point."""
        return [(self.seed + n, fold) for n in range(self.seeds) for fold in range(max(self.folds, 1))]

    def values(self, params: dict[str, Any], seed: int, fold: int) -> list[str]:
        """KEY VALUE words that make this run of a point."""
        words = [word for key, value in params.items() for word in (key, as_text(value))]
        words += ["SEED", str(seed)]
        return words + (["DATASETS.FOLDS", str(self.folds), "DATASETS.FOLD", str(fold)] if self.folds else [])

    def command(self, number: int, params: dict[str, Any], seed: int, fold: int) -> list[str]:
        """The words of `tools/train_net.py` for a trial. It is not tested: what selects must not see the test set."""
        which = f"seed {seed}" + (f", fold {fold} of {self.folds}" if self.folds else "")
        about = f"point {number} of {self.name}: {described(params) or 'as it is'} ({which})"
        tags = [f"--tag={tag}" for tag in ("sweep", self.name, self.tag(number), *self.tags)]
        why = f"--why={self.why + ' | ' if self.why else ''}{about}"
        names = [f"--name={self.name}", f"--output-dir={self.folder}", why, *tags]
        return [*self._recipe(), *self.words, *names, *self.values(params, seed, fold), "TEST.AT_END", "false"]

    def repeat(self, params: dict[str, Any], seed: int, fold: int) -> list[str]:
        """The words of `tools/train_net.py` that make this run again as one of its own, tested at its end."""
        where = [f"--output-dir={self.folder}"] if self.settings["OUTPUT_DIR"] or self.folder != "exp" else []
        return [*self._recipe(), *self.words, *where, *self.values(params, seed, fold)]

    def _recipe(self) -> list[str]:
        return [f"--config-file={self.path / RECIPE}"] if self.recipe else []

    def tag(self, number: int) -> str:
        """What all runs of a point bear."""
        return f"{self.name}.{number}"


def sweep_path(folder: Path, name: str) -> Path:
    """Where the sweep of a name has its files."""
    return folder / ".sweeps" / name


def trial_words(args: Any) -> list[str]:
    """What a command line says that every trial is to be told, but for its recipe, names, tags and reasons."""
    words = [f"--{name}={getattr(args, name)}" for name in ("expect", "parent") if getattr(args, name)]
    for key, text, origin in args.overrides:
        if key in ("NAME", "OUTPUT_DIR", "SEED"):
            continue
        words += [f"{origin.removeprefix('flag ')}={text}"] if origin.startswith("flag ") else [key, text]
    return words


def create(sweep: Sweep, root: Path) -> None:
    """Makes the sweep's folder: its facts, and the copy of the code that all its trials run, whatever is edited meanwhile.

    Raises:
        UserError: there is a sweep of this name, the folder cannot be written, or the code is too large to copy.
    """
    path = sweep.path
    aside = path.with_name(f".starting-{sweep.name}-{os.getpid()}")
    try:
        aside.mkdir(parents=True)
        (aside / "trials").mkdir()
        copy = snapshot.take(root, aside / "scripts", Path(sweep.folder))
        write_atomic(aside / "scripts.sha256", snapshot.checksum_lines(copy, "scripts"))
        sweep.root, sweep.git = str(root), git_facts(root)
        if sweep.recipe:
            write_atomic(aside / RECIPE, sweep.recipe)
        write_json(aside / "sweep.json", asdict(sweep))
        os.rename(aside, path)
    except OSError as error:
        if path.exists():
            raise name_is_taken(sweep) from error
        raise UserError(
            f"{path}: the sweep's files cannot be written ({error.strerror or error}); free some space or take another "
            "folder with --output-dir"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def name_is_taken(sweep: Sweep) -> UserError:
    """The error of a name that is taken."""
    where = "" if sweep.folder == "exp" else f" --output-dir {sweep.folder}"
    return UserError(
        f"there is a sweep {sweep.name} in {sweep.folder}; go on with tools/sweep.py --resume {sweep.name}{where}, or give "
        "another --name"
    )


def save(sweep: Sweep) -> None:
    """Writes the facts anew."""
    write_json(sweep.path / "sweep.json", asdict(sweep))


def load(folder: Path, name: str) -> Sweep:
    """The facts of a sweep.

    Raises:
        UserError: there is none of this name, or its facts cannot be read.
    """
    file = sweep_path(folder, name) / "sweep.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return Sweep(**{**facts, "folder": str(folder)})
    except FileNotFoundError as error:
        known = sorted(path.parent.name for path in folder.glob(".sweeps/*/sweep.json"))
        hint = f"there are {', '.join(known[:10])}" if known else "there are none; --output-dir names another folder of runs"
        raise UserError(f"no sweep {name!r} in {folder}: {hint}") from error
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file}: cannot be read as a sweep ({' '.join(str(error).split())[:100]})") from error


def check_same(sweep: Sweep, search: dict[str, str], settings: dict[str, Any], given: Sequence[tuple[str, Any]]) -> None:
    """What a command line that resumes a sweep says beside its name must be what the sweep is.

    Raises:
        UserError: another search, recipe, number of seeds or folds, sampler or pruner.
    """
    fresh = "; begin another sweep with another --name"
    for key in dict.fromkeys([*sweep.search, *search]) if search else ():
        old, new = sweep.search.get(key), search.get(key)
        if old != new:
            raise UserError(f"--resume {sweep.name}: it searches {key} {old or 'not at all'}, not {new or 'not at all'}{fresh}")
    for key in sorted(settings):
        if key not in ("NAME", "OUTPUT_DIR", "VERSION") and sweep.settings.get(key) != settings[key]:
            raise UserError(f"--resume {sweep.name}: {key} is {sweep.settings.get(key)!r} there, here {settings[key]!r}{fresh}")
    for name, value in given:
        if value not in (None, getattr(sweep, name)):
            raise UserError(f"--resume {sweep.name}: --{name} is {getattr(sweep, name)} there, not {value}{fresh}")
