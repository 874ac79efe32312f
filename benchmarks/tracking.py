"""How long it takes to read ten thousand runs, and what a run's record costs; peers where they are installed.

    python benchmarks/tracking.py [--runs 10000] [--peers]

The records are real folders: made once by `tracking.start_run`, then cloned with other names, seeds, dates and scores.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

STEPS, SCALARS = 100, 10


def main() -> None:
    """Prints one line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--peers", action="store_true", help="TensorBoard and MLflow on 100 runs, if they are installed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "exp"
        seed_run = first_run(folder)
        clone(seed_run, folder, args.runs)
        ours(folder, args.runs)
        record_size(seed_run)
        if args.peers:
            peers(Path(temporary))


def first_run(folder: Path) -> Path:
    """A run made by the real code, with a step logged many times: the cost of logging is printed."""
    import config
    from tracking import Facts, start_run

    cfg = config.load_file(str(ROOT / "configs" / "train_digits_softmax.yml"))
    run = start_run(
        folder,
        Facts(
            root=ROOT,
            name="bench",
            config=config.dump(cfg),
            config_flat=cfg.flat(),
            config_digest=config.digest(cfg),
            origins=cfg.origins,
            seed=0,
            command=["tools/train_net.py"],
            why="how quick is it?",
        ),
    )
    scalars = {f"train/loss_{i}": random.random() for i in range(SCALARS)}
    count = 5000
    start = time.perf_counter()
    for step in range(count):
        run.log(step, 0, scalars)
    print(f"log one step of {SCALARS} scalars      {(time.perf_counter() - start) / count * 1e6:8.1f} us   (bar 50)")
    run.update(metrics={"val/top1": 0.9, "val/loss": 0.3}, primary_metric="val/top1", lower_is_better=frozenset({"loss"}))
    run.finish("finished")
    return run.path


def clone(source: Path, folder: Path, count: int) -> None:
    """`count` runs of 40 names in chains of parents, each record with its own seed, learning rate and scores."""
    files = {
        name: (source / name).read_text() for name in ("run.json", "status.json", "config.yml", "notes.md", "scripts.sha256")
    }
    rng = random.Random(0)
    last: dict[str, str] = {}
    for i in range(count):
        name = f"idea{i % 40}"
        clock = time.strftime("%Y-%m-%d_%H-%M-%S", time.gmtime(1_700_000_000 + 61 * i))
        path = folder / f"{name}_{clock}"
        path.mkdir()
        run, status = json.loads(files["run.json"]), json.loads(files["status.json"])
        run |= {"id": path.name, "name": name, "seed": i % 5, "parent": last.get(name, ""), "started": clock[:10]}
        score = rng.random()
        status["metrics"]["val/top1"] = {"last": score, "best": score, "best_step": 3}
        rate = rng.choice(["0.1", "0.05", "0.01"])
        (path / "run.json").write_text(json.dumps(run, indent=1))
        (path / "status.json").write_text(json.dumps(status, indent=1))
        (path / "config.yml").write_text(
            files["config.yml"].replace("BASE_LR: 0.05", f"BASE_LR: {rate}").replace("SEED: 0", f"SEED: {i % 5}")
        )
        (path / "notes.md").write_text(files["notes.md"])
        last[name] = path.name


def ours(folder: Path, count: int) -> None:
    """Rebuild, refresh, whole processes."""
    from tracking import index

    print(f"{count + 1} runs")
    report("cold rebuild of the index", lambda: index.load(folder, full=True), 10.0)
    report("refresh, nothing changed", lambda: index.load(folder), 0.2, best_of=3)
    shutil.copytree(folder / ".index", folder.parent / "kept")
    shutil.rmtree(folder / ".index")
    report("without any index", lambda: index.load(folder), None)
    shutil.copytree(folder.parent / "kept", folder / ".index", dirs_exist_ok=True)
    for words, bar in (
        (["ls", "--sort", "val/top1"], 0.5),
        (["ls", "--sort", "val/top1", "--json"], None),
        (["ls", "--where", "SOLVER.BASE_LR<0.1", "--limit", "10"], None),
        (["show", "last"], 0.3),
        (["best", "val/top1"], None),
        (["groups"], None),
    ):
        report("exp.py " + " ".join(words), lambda words=words: whole_process(words, folder), bar, best_of=3)  # type: ignore[misc]
    size = (folder / ".index" / "index.sqlite").stat().st_size
    print(f"index                               {size / (count + 1) / 1000:8.2f} kB a run")


def whole_process(words: list[str], folder: Path) -> None:
    """A command as a user starts it."""
    command = [sys.executable, str(ROOT / "tools" / "exp.py"), *words, "--output-dir", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def record_size(run: Path) -> None:
    """What the record adds besides code copy, curves, figures and weights."""
    names = ("run.json", "status.json", "config.yml", "notes.md", "log.txt", "scripts.sha256", "env.txt")
    print(f"record without code and curves      {sum((run / n).stat().st_size for n in names) / 1000:8.1f} kB   (bar 60)")


def peers(folder: Path, count: int = 100) -> None:
    """Listing `count` runs of 100 steps x 10 scalars sorted by a metric."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError:
        print("TensorBoard is not installed")
    else:
        for i in range(count):
            writer = EventFileWriter(str(folder / "tb" / str(i)))
            for step in range(STEPS):
                values = [Summary.Value(tag=f"m{k}", simple_value=random.random()) for k in range(SCALARS)]
                writer.add_event(Event(step=step, wall_time=0.0, summary=Summary(value=values)))
            writer.close()

        def read() -> Any:
            return sorted(EventAccumulator(str(path)).Reload().Scalars("m0")[-1].value for path in (folder / "tb").iterdir())

        report(f"TensorBoard EventAccumulator, {count} runs", read, None)
    try:
        import mlflow  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        print("MLflow is not installed")
        return
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    for _ in range(count):
        with mlflow.start_run():
            mlflow.log_params({f"p{k}": k for k in range(20)})
            mlflow.log_metrics({f"m{k}": random.random() for k in range(SCALARS)})
    report(f"MLflow (SQLite) search_runs, {count} runs", lambda: mlflow.search_runs(order_by=["metrics.m0"]), None)


def report(what: str, action: Callable[[], object], bar: float | None, best_of: int = 1) -> None:
    """Times an action and prints it beside its bar."""
    times = []
    for _ in range(best_of):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    print(f"{what:<46} {min(times):8.3f} s" + (f"   (bar {bar})" if bar else ""), flush=True)


if __name__ == "__main__":
    main()
