"""What listing all runs, sorted by a metric, costs elsewhere. A run is 20 parameters and 10 scalars x 100 steps.

Each peer logs as many runs as it can in a given time, in the way its documentation recommends; then all are listed once.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

PARAMETERS, SCALARS, STEPS, MOST = 20, 10, 100, 1000


def main(folder: Path, seconds: float) -> list[str]:
    """Two lines a peer, printed and returned."""
    lines = []
    for name, peer in {"TensorBoard": tensorboard, "MLflow (SQLite)": mlflow, "Guild": guild_ai}.items():
        try:
            log, read = peer(folder / name.split()[0])
        except ImportError:
            print(f"{name}: not installed")
            continue
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds and count < MOST:
            count += log()
        logging = (time.perf_counter() - start) / count
        start = time.perf_counter()
        assert read() >= count
        reading = time.perf_counter() - start
        lines.append(f"{name:<18} {count:5d} runs: log {logging * 1e3:8.1f} ms a run, list and sort all {reading:8.2f} s")
        lines.append(f"{'':<18} so {reading / count * 1e3:8.2f} ms a run listed")
        print("\n".join(lines[-2:]), flush=True)
    return lines


def tensorboard(folder: Path) -> tuple[Callable[[], int], Callable[[], int]]:
    """Event files, read by EventAccumulator."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    def log() -> int:
        writer = EventFileWriter(str(folder / uuid.uuid4().hex))
        for step in range(STEPS):
            values = [Summary.Value(tag=f"m{k}", simple_value=random.random()) for k in range(SCALARS)]
            writer.add_event(Event(step=step, wall_time=0.0, summary=Summary(value=values)))
        writer.close()
        return 1

    def read() -> int:
        return len(sorted(EventAccumulator(str(path)).Reload().Scalars("m0")[-1].value for path in folder.iterdir()))

    return log, read


def mlflow(folder: Path) -> tuple[Callable[[], int], Callable[[], int]]:
    """The SQLite store, one log_batch a run, listed by search_runs."""
    from mlflow import MlflowClient  # type: ignore[import-not-found,unused-ignore]
    from mlflow.entities import Metric, Param  # type: ignore[import-not-found,unused-ignore]

    folder.mkdir(parents=True)
    client = MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("bench", artifact_location=str(folder / "artifacts"))

    def log() -> int:
        run = client.create_run(experiment).info.run_id
        metrics = [Metric(f"m{k}", random.random(), 0, step) for step in range(STEPS) for k in range(SCALARS)]
        client.log_batch(run, metrics, [Param(f"p{k}", str(k)) for k in range(PARAMETERS)])
        client.set_terminated(run)
        return 1

    def read() -> int:
        found, token = 0, None
        while True:
            page = client.search_runs([experiment], order_by=["metrics.m0 DESC"], max_results=1000, page_token=token)
            found, token = found + len(page), page.token
            if not token:
                return found

    return log, read


def guild_ai(folder: Path) -> tuple[Callable[[], int], Callable[[], int]]:
    """`guild run` of a script that prints its scores; runs beyond the first are copies; listed by `guild compare`."""
    import guild  # type: ignore[import-not-found,import-untyped,unused-ignore] # noqa: F401

    work, home = folder / "work", folder / "home"
    work.mkdir(parents=True)
    home.mkdir()
    flags = "\n".join(f"p{k} = {k}" for k in range(PARAMETERS))
    scores = "; ".join(f"print('m{k}:', s / 7)" for k in range(SCALARS))
    (work / "train.py").write_text(f"{flags}\nfor s in range({STEPS}):\n    print('step:', s); {scores}\n")
    environment = {**os.environ, "GUILD_HOME": str(home), "NO_COLOR": "1"}
    tool = [sys.executable, "-m", "guild.main_bootstrap"]

    def log() -> int:
        subprocess.run([*tool, "run", "train.py", "-y"], cwd=work, env=environment, check=True, capture_output=True)
        source = next(path for path in (home / "runs").iterdir() if path.is_dir())
        for _ in range(74):
            shutil.copytree(source, home / "runs" / uuid.uuid4().hex, symlinks=True)
        return 75

    def read() -> int:
        done = subprocess.run([*tool, "compare", "--csv", "-"], cwd=work, env=environment, check=True, capture_output=True)
        return len(done.stdout.splitlines()) - 1

    return log, read
