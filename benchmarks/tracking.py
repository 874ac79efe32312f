"""How long it takes to read ten thousand runs, and what a run's record costs; peers where they are installed.

    python benchmarks/tracking.py [--runs 10000] [--peers]          pip install mlflow guildai tensorboard

The records are real folders: made once by `tracking.start_run`, then cloned with other names, seeds, dates and scores.
"""

from __future__ import annotations

import argparse
import json
import os
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


MISSED: list[str] = []
LINES: list[str] = []


def main() -> int:
    """One line a figure, with the bar it has to keep; 1 where one is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--peers", action="store_true", help="TensorBoard, MLflow, Guild where they are installed")
    parser.add_argument("--peer-seconds", type=float, default=60, help="each peer makes as many runs as it can in so long")
    parser.add_argument("--page", action="store_true", help="write docs/tracking.md")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "exp"
        seed_run = first_run(folder)
        clone(seed_run, folder, args.runs)
        ours(folder, args.runs)
        record_size(seed_run)
        snapshots(Path(temporary))
        lost_writes(Path(temporary) / "many")
        if args.peers:
            from benchmarks import tracking_peers

            LINES.extend(tracking_peers.main(Path(temporary), args.peer_seconds))
    if args.page:
        page = ROOT / "docs" / "tracking.md"
        page.parent.mkdir(exist_ok=True)
        title = "# What reading records costs\n\nPrinted by `python benchmarks/tracking.py --peers --page` on 2 cores.\n"
        page.write_text(f"{title}\n```text\n" + "\n".join(LINES) + "\n```\n", encoding="utf-8")
    if MISSED:
        print(f"missed: {', '.join(MISSED)}", file=sys.stderr)
    return int(bool(MISSED))


def say(what: str, value: float, unit: str, bar: float | None = None, digits: int = 3) -> None:
    """Prints a figure beside its bar, and remembers one that is missed."""
    line = f"{what:<48} {value:10.{digits}f} {unit:<5}" + (f" (bar {bar:g})" if bar is not None else "")
    LINES.append(line.rstrip())
    print(line, flush=True)
    if bar is not None and value > bar:
        MISSED.append(what)


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
    say(f"log one step of {SCALARS} scalars", (time.perf_counter() - start) / count * 1e6, "us", 50, 1)
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
        for rest in ("weights", "figures", "runs", "scripts"):
            (path / rest).mkdir()
        for rest in ("log.txt", "metrics.jsonl", "env.txt", "scripts.sha256"):
            os.link(source / rest, path / rest)
        last[name] = path.name


def ours(folder: Path, count: int) -> None:
    """Rebuild, refresh, whole processes."""
    from tracking.reading import index

    say("runs", count + 1, "", digits=0)
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
    say("index, for each run", size / (count + 1) / 1000, "kB")


def whole_process(words: list[str], folder: Path) -> None:
    """A command as a user starts it."""
    command = [sys.executable, str(ROOT / "tools" / "exp.py"), *words, "--output-dir", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def record_size(run: Path) -> None:
    """What the record adds besides code copy, curves, figures and weights."""
    names = ("run.json", "status.json", "config.yml", "notes.md", "log.txt", "scripts.sha256", "env.txt")
    say("record without code and curves", sum((run / name).stat().st_size for name in names) / 1000, "kB", 60, 1)


def snapshots(folder: Path) -> None:
    """Copying the code of a start: trees of 75 and 1,700 files in git."""
    from tracking import snapshot

    for count, bar in ((75, 0.06), (1700, 1.5)):
        tree = folder / f"tree{count}"
        for number in range(count):
            file = tree / f"package{number % 40}" / f"module{number}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(random.Random(number).randbytes(10_500))
        subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
        subprocess.run(["git", "add", "."], cwd=tree, check=True)
        copies = iter(range(10))
        report(
            f"copy and digest a tree of {count} files",
            lambda tree=tree, copies=copies: snapshot.take(tree, folder / f"{tree.name}-{next(copies)}"),  # type: ignore[misc]
            bar,
            best_of=3,
        )


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
    say(f"{writers} writers x {steps} lines at once: lost", writers * steps - rows, "lines", 0, 0)
    say("their longest wait for a line", max(stalls) * 1e3, "ms", digits=1)


def report(what: str, action: Callable[[], object], bar: float | None, best_of: int = 1) -> None:
    """Times an action and prints it beside its bar."""
    times = []
    for _ in range(best_of):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    say(what, min(times), "s", bar)


if __name__ == "__main__":
    sys.exit(main())
