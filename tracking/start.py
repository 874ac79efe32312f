"""The birth of a record: made under a temporary name, renamed when it is whole; and going on in an old one."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tracking import environment, job, snapshot
from tracking.lock import RunLock
from tracking.notes import check_tags, notes_text
from tracking.record import SCHEMA, is_alive, read_record
from tracking.run import Run, now
from utils.errors import UserError
from utils.files import fsync_directory, sweep, write_atomic, write_json
from utils.names import check_run_name
from utils.redact import redact, redact_command

_STARTING = ".starting-"


@dataclass
class Facts:
    """What a run is: everything that its record says of the start.

    Attributes:
        root: the code to copy, a repository's top folder.
        config: the resolved config as YAML text.
        origins: dotted key -> where its value came from.
        parent_guess: nobody named the parent, and it has another name.
        data: per split: name, samples, classes, digest.
        hardware: what the caller knows of the machine (device, torch).
    """

    root: Path
    name: str
    config: str
    config_digest: str
    origins: dict[str, str]
    seed: int
    command: list[str]
    why: str = ""
    expect: str = ""
    tags: list[str] = field(default_factory=list)
    parent: str = ""
    parent_guess: bool = False
    world_size: int = 1
    data: dict[str, Any] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)


def start_run(folder: Path, facts: Facts) -> Run:
    """Makes the run's folder in `folder` with its whole record and the code copy, and begins its heartbeat.

    Raises:
        UserError: a bad name, a folder that cannot be written, a full disk, code too large to copy. No folder is left.
    """
    check_run_name(facts.name)
    check_tags(facts.tags)
    facts = _shareable(facts)
    moment = datetime.now()
    aside = folder / f"{_STARTING}{facts.name}-{os.getpid()}-{moment:%H%M%S%f}"
    try:
        aside.mkdir(parents=True)
        record, status = _fill(aside, folder, facts)
        lock = RunLock(aside)
        path = claim(aside, folder, f"{facts.name}_{moment:%Y-%m-%d_%H-%M-%S}", record)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise UserError(
            f"{folder}: the run's record cannot be written ({error.strerror or error}); free some space or take another "
            "folder with --output-dir"
        ) from error
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return Run(path, status, facts.root, snapshot.read_checksums(path / "scripts.sha256"), lock)


def _shareable(facts: Facts) -> Facts:
    """The same without credentials and without characters that UTF-8 does not have."""

    def clean(text: str) -> str:
        return redact(text).encode(errors="replace").decode()

    command, tags = [clean(word) for word in redact_command(facts.command)], [clean(tag) for tag in facts.tags]
    return replace(facts, why=clean(facts.why), expect=clean(facts.expect), tags=tags, command=command)


def _fill(aside: Path, folder: Path, facts: Facts) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes every file of the record but run.json into the half-made folder; the content of run.json and the first status."""
    for name in ("runs", "weights", "figures"):
        (aside / name).mkdir()
    copy = snapshot.take(facts.root, aside / "scripts", folder)
    described = environment.facts(facts.hardware)
    started = now()
    status = _first_status(started, copy.code_digest)
    write_json(aside / "status.json", status)
    write_atomic(aside / "config.yml", facts.config)
    write_atomic(aside / "notes.md", notes_text(facts.why, facts.expect, facts.tags))
    write_atomic(aside / "env.txt", environment.as_text(described))
    write_atomic(aside / "scripts.sha256", snapshot.checksum_lines(copy, "scripts"))
    for name in ("log.txt", "metrics.jsonl"):
        (aside / name).touch()
    return _run_json(facts, copy, described, started), status


def _first_status(started: str, code: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "status": "running",
        "reason": "",
        "ended": "",
        "seconds": 0.0,
        "progress": {"epoch": 0, "step": 0, "total_steps": 0},
        "primary_metric": "",
        "metrics": {},
        "lower_is_better": [],
        "sessions": [_session(started, {}, code)],
    }


def _session(started: str, changes: dict[str, Any], code: str) -> dict[str, Any]:
    return {
        "host": environment.host(),
        "boot_id": environment.boot_id(),
        "pid": os.getpid(),
        **job.facts(),
        "started": started,
        "changes": changes,
        "code_digest": code,
    }


def _run_json(facts: Facts, copy: snapshot.Snapshot, described: dict[str, Any], started: str) -> dict[str, Any]:
    return {
        "name": facts.name,
        "why": facts.why,
        "expect": facts.expect,
        "tags": facts.tags,
        "parent": facts.parent,
        "parent_guess": facts.parent_guess,
        "started": started,
        "command": facts.command,
        "host": environment.host(),
        "boot_id": environment.boot_id(),
        "pid": os.getpid(),
        "world_size": facts.world_size,
        "seed": facts.seed,
        "git": environment.git_facts(facts.root),
        "code_digest": copy.code_digest,
        "tree_digest": copy.tree_digest,
        "code_skipped": copy.skipped,
        "config_digest": facts.config_digest,
        "origins": facts.origins,
        "data": facts.data,
        "environment": described,
    }


def claim(aside: Path, folder: Path, wanted: str, record: dict[str, Any]) -> Path:
    """Writes run.json, and renames a record that is whole to `wanted`, or `wanted-2`, ...: renaming onto a folder that holds
    something fails, and a run's always does.

    Args:
        record: the content of run.json but for `schema` and `id`.
    """
    for number in range(1, 10_000):
        path = folder / (wanted if number == 1 else f"{wanted}-{number}")
        write_json(aside / "run.json", {"schema": SCHEMA, "id": path.name, **record})
        try:
            os.rename(aside, path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                continue
            raise
        fsync_directory(folder)
        return path
    raise UserError(f"{folder}: no free name like {wanted}")


def resume_run(path: Path, root: Path, changes: dict[str, Any]) -> tuple[Run, str]:
    """Goes on in the folder of an ended run; the run, and one line on code that differs from its copy ("" if none).

    Args:
        root: the code that now runs; where it differs from the copy it is kept as scripts.2/ (3, ...).
        changes: config keys that differ from config.yml: {key: [old, new]}.

    Raises:
        UserError: the run is still living, or its record is broken.
    """
    try:
        lock = RunLock(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); nothing was changed") from error
    try:
        status, code, difference = _reopen(path, root, changes)
    except BaseException:
        lock.release(path)
        raise
    return Run(path, status, root, code, lock), difference


def _reopen(path: Path, root: Path, changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str], str]:
    """Makes the record one of a living run again: its status, the code that runs, and how that differs from the copy."""
    record = read_record(path)
    session = (record.status.get("sessions") or [{}])[-1]
    # Beyond the lock: on file servers that know none, and for runs of code that had none.
    if record.status.get("status") == "running" and not job.is_own(session) and is_alive(record):
        raise UserError(f"{path.name} is still running: process {session['pid']} on {session['host']}; stop it first")
    newer = max(record.run.get("schema", SCHEMA), record.status.get("schema", SCHEMA)) > SCHEMA
    if not record.status or newer:
        raise UserError(
            f"{record.problems[0]}; the run cannot be resumed" + (": take its own code, --code run" if newer else "")
        )
    for folder in (path, path / "weights", path / "crash"):
        sweep(folder)  # what a killed process left half written
    difference, code = _keep_code(path, root)
    status = {**_first_status("", ""), **record.status, "status": "running", "reason": "", "ended": ""}
    status["sessions"] = [*record.status.get("sessions", []), _session(now(), changes, snapshot.code_digest(code))]
    try:
        write_json(path / "status.json", status)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); nothing was changed") from error
    return status, code, difference


def _keep_code(path: Path, root: Path) -> tuple[str, dict[str, str]]:
    """Copies `root` beside the older copies if it is like none of them."""
    today = snapshot.take(root, None, path.parent)
    first = snapshot.read_checksums(path / "scripts.sha256")
    own = root.resolve() == (path / "scripts").resolve()
    differs = {kind: names for kind, names in snapshot.compare(first, today.files).items() if names}
    if not differs or own and not first:
        return "", today.files
    shown = ", ".join(f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in differs.items())
    if own:
        return f"scripts/ is not the code that the run began with: {shown}", today.files
    number = 2
    while (path / f"scripts.{number}.sha256").is_file():
        if snapshot.read_checksums(path / f"scripts.{number}.sha256") == today.files:
            break
        number += 1
    else:
        copy = snapshot.take(root, path / f"scripts.{number}", path.parent)
        write_atomic(path / f"scripts.{number}.sha256", snapshot.checksum_lines(copy, f"scripts.{number}"))
    return f"the code differs from the run's copy: {shown}; kept as scripts.{number}/", today.files
