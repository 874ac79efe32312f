"""The Optuna side: the storage, how points are chosen and pruned. The study maximises a score of which more is better."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.search.plan import Sweep
from engine.search.spec import Dimension, grid
from utils.errors import UserError
from utils.redact import redact

JOURNAL = "journal.log"
LOCK_WAIT = 5  # seconds for another's lock on an SQLite file


def import_optuna() -> Any:
    """The library, quiet.

    Raises:
        UserError: it is not installed.
    """
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise UserError("tools/sweep.py searches with Optuna, which is not installed: pip install optuna") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


@contextlib.contextmanager
def storage_errors(sweep: Sweep) -> Iterator[None]:
    """What goes wrong with the storage is one line that says what to do."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, ImportError, ValueError, OSError, sqlite3.Error) as error:
        if isinstance(error, ValueError | OSError) and not sweep.storage:
            raise
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = redact(" ".join(str(cause).split())[:200])
        where = f"--storage {redact(sweep.storage)}" if sweep.storage else sweep.path / JOURNAL
        raise UserError(f"{where} cannot be used ({said}); it must be reachable, and held by no other program") from error


def check_storage(sweep: Sweep, url: str) -> None:
    """Before a sweep is made: Optuna is there, and so is the database, without a study of that name.

    Raises:
        UserError: one of it is not so.
    """
    if importlib.util.find_spec("optuna") is None:
        import_optuna()
    if not url:
        return
    import_optuna()
    with storage_errors(sweep):
        names = [study.study_name for study in _database(url).get_all_studies()]
    if sweep.name in names:
        raise UserError(f"--storage {redact(url)}: there is a study {sweep.name} already; give another --name")


def open_study(sweep: Sweep) -> Any:
    """The study of a sweep in its storage; made where there is none yet.

    Raises:
        UserError: the storage cannot be reached, or is locked.
    """
    optuna = import_optuna()
    with storage_errors(sweep):
        storage = _database(sweep.storage) if sweep.storage else _journal(sweep.path / JOURNAL)
        return optuna.create_study(
            storage=storage,
            study_name=sweep.name,
            direction="maximize",
            load_if_exists=True,
            pruner=_pruner(sweep),
        )


def _database(url: str) -> Any:
    from optuna.storages import RDBStorage

    wait = {"connect_args": {"timeout": LOCK_WAIT}} if url.startswith("sqlite") else {}
    return RDBStorage(url, engine_kwargs=wait)


def _journal(path: Path) -> Any:
    """The file that only this process writes. A process that was killed may have left a torn line, or its lock."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if path.is_file():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)
    return JournalStorage(JournalFileBackend(str(path)))


def _pruner(sweep: Sweep) -> Any:
    from optuna import pruners

    if sweep.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=4)
    if sweep.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=1, max_resource=sweep.epochs)
    return pruners.NopPruner()


def sampler(sweep: Sweep, number: int, dimensions: Sequence[Dimension]) -> Any:
    """What draws point `number`: of a grid the point in that place; else seeded by it, so that a sweep that was resumed draws
    as one that never stopped."""
    from optuna import samplers

    seed = (sweep.seed * 1_000_003 + number) % 2**32
    if sweep.sampler == "grid":
        return samplers.PartialFixedSampler(grid(dimensions)[number], samplers.RandomSampler(seed=seed))
    return samplers.TPESampler(seed=seed) if sweep.sampler == "tpe" else samplers.RandomSampler(seed=seed)


def suggest(trial: Any, dimensions: Sequence[Dimension]) -> dict[str, Any]:
    """The point of a trial; of one that was begun before, what was drawn then."""
    for dimension in dimensions:
        low, high = dimension.values[0], dimension.values[-1]
        if dimension.listed:
            trial.suggest_categorical(dimension.key, dimension.values)
        elif dimension.kind == "int":
            trial.suggest_int(dimension.key, low, high)
        else:
            trial.suggest_float(dimension.key, low, high, log=dimension.kind == "loguniform")
    return {dimension.key: trial.params[dimension.key] for dimension in dimensions}
