"""How long it takes to read ten thousand runs, and what a run's record costs; peers where they are installed.

    python benchmarks/tracking.py [--runs 10000] [--peers]          pip install mlflow guildai tensorboard

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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SCALARS = 10


def main() -> None:
    """Prints one line a figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--peers", action="store_true", help="TensorBoard, MLflow, Guild where they are installed")
    parser.add_argument("--peer-seconds", type=float, default=60, help="each peer makes as many runs as it can in so long")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "exp"
        seed_run = first_run(folder)
        clone(seed_run, folder, args.runs)
        ours(folder, args.runs)
        record_size(seed_run)
        lost_writes(Path(temporary) / "many")
        if args.peers:
            from benchmarks import tracking_peers

            tracking_peers.main(Path(temporary), args.peer_seconds)


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
    from tracking.reading import index

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


def lost_writes(folder: Path, writers: int = 8, steps: int = 500) -> None:
    """Processes that start and log at once, while a reader rebuilds the index: how many lines are missing afterwards."""
    from tracking.reading import index

    code = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import tracking\n"
        "facts = tracking.Facts(root=Path(sys.argv[3]), name='w', config='', config_digest='',\n"
        "    origins={}, seed=0, command=[])\n"
        "run = tracking.start_run(Path(sys.argv[2]), facts); worst = 0.0\n"
        f"for step in range({steps}):\n"
        "    start = time.perf_counter(); run.log(step, 0, {f'm{i}': 0.1 for i in range(10)})\n"
        "    worst = max(worst, time.perf_counter() - start)\n"
        "run.finish('finished'); print(worst)\n"
    )
    tree = folder.parent / "tree"
    tree.mkdir()
    words = [sys.executable, "-c", code, str(ROOT), str(folder), str(tree)]
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(writers)]
    while any(process.poll() is None for process in started):
        index.load(folder, full=True)
    stalls = [float(process.communicate()[0]) for process in started]
    rows = sum(len((path / "metrics.jsonl").read_text().splitlines()) for path in folder.glob("w_*"))
    print(f"{writers} writers x {steps} lines: lost        {writers * steps - rows:8d}      (bar 0)")
    print(f"their longest wait for a line       {max(stalls) * 1e3:8.1f} ms")


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
