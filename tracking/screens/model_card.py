"""MODEL_CARD.md: what a run's record says of its model, for those who get the files and not the record
(Mitchell et al., Model Cards for Model Reporting, 2019)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracking.judging.groups import key_of, left_out, pool
from tracking.judging.noise import wilson
from tracking.reading import index
from tracking.reading.configs import read_config, read_origins
from tracking.record import Record, read_record
from tracking.screens.model_limits import limits, parts_of
from tracking.wording import code, plain, value
from utils.files import size

SHARES = {  # scores for which a sample, or a query, is right or wrong: what test.json counts of them
    **dict.fromkeys(("top1", "top5", "subset_accuracy"), "samples"),
    **dict.fromkeys(("rank1", "rank5", "rank10", "rank20"), "queries"),
}
ALWAYS = (  # keys that are told also where they are at their defaults
    "MODEL.NAME", "LOSS.NAME", "SOLVER.OPTIMIZER_NAME", "SOLVER.BASE_LR", "SOLVER.IMS_PER_BATCH", "SOLVER.MAX_EPOCHS", "SEED",
)  # fmt: skip
LICENCE = "(for the owner to say: of the weights, and of the data that they were trained on)"
USE = "(for the owner to say: what it is meant for, and what not)"
Row = dict[str, Any]


def model_card(run: Path, files: Sequence[Row], preprocessing: dict[str, Any], weights: Path, old: str = "") -> str:
    """The card, as Markdown.

    Args:
        run: the run's folder.
        files: what was exported, of engine/shipping/export.py: the model in PyTorch, then an object a format.
        preprocessing: the content of preprocessing.json.
        weights: the file that was exported.
        old: the card that is there already: what its owner wrote under Licence and Intended use is kept.
    """
    record, tested = read_record(run), read_test(run)
    runs = index.load(run.parent, write=False)
    runs.parse()
    row = runs.by_id[run.name]
    name = weights.name if weights.resolve().parent == (run / "weights").resolve() else f"{weights.name}, of another folder"
    score = _score(runs, row, tested)
    if tested and tested.get("weights") != name:
        score = [f"These weights ({plain(name)}) were not tested: the run's test is of {plain(tested.get('weights'))}."]
        tested = {}
    parts = {
        "": [f"# {plain(record.name)}", "", _what(record, preprocessing, name)],
        "Intended use": [_kept(old, "Intended use", USE)],
        "Why it was trained": _why(record),
        "Data": _data(record),
        "Score": score,
        "How to use": _use(files, preprocessing),
        "Files": _files(files),
        "Training": _training(record),
        "Limits": [f"- {line}" for line in limits(record, tested, preprocessing, left_out(row))],
        "Licence": [_kept(old, "Licence", LICENCE)],
    }
    text = "\n\n".join("\n".join([*([f"## {part}", ""] if part else []), *lines]) for part, lines in parts.items())
    return text + "\n"


def read_test(run: Path) -> dict[str, Any]:
    """The content of test.json; {} where there is none that can be read."""
    try:
        found = json.loads((run / "test.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    fits = isinstance(found, dict) and isinstance(found.get("metrics"), dict) and isinstance(found.get("samples"), int)
    return found if fits else {}


def _what(record: Record, facts: dict[str, Any], weights: str) -> str:
    _, channels, height, width = facts["input"]["shape"]
    images = f"{'grey' if channels == 1 else 'RGB'} images of {height} x {width} pixels"
    classes = facts["classes"]
    named = ", ".join(map(plain, classes[:20])) + (", ..." if len(classes) > 20 else "")
    does = {
        "class": f"tells {len(classes)} classes apart ({named})",
        "labels": f"says which of {len(classes)} classes an image shows ({named})",
        "value": "predicts a number",
        "identity": "gives a feature by which images of the same identity lie near each other",
    }[facts["output"]["kind"]]
    return f"A model that {does}, from {images}. Of the run `{record.id}`: {plain(weights)}."


def _why(record: Record) -> list[str]:
    said = [record.notes.get("Why") or record.run.get("why", ""), record.notes.get("Expected") or record.run.get("expect", "")]
    lines = [plain(said[0]) or "(not said)"]
    lines += ["", f"Expected: {plain(said[1])}"] if said[1] else []
    verdict = record.notes.get("Verdict", "")
    return lines + (["", f"Verdict: {plain(verdict)}"] if verdict else [])


def _data(record: Record) -> list[str]:
    lines = ["| split | data set | images | classes | digest |", "|---|---|--:|--:|---|"]
    for split, part in parts_of(record).items():
        name, count, classes, digest = (part.get(key, "") for key in ("name", "samples", "classes", "digest"))
        lines.append(f"| {plain(split)} | {code(name)} | {count} | {classes} | {code(digest)} |")
    return lines


def _score(runs: index.Runs, row: Row, tested: dict[str, Any]) -> list[str]:
    if not tested:
        return ["It was not tested."]
    lines = ["| score | value | 95 % interval |", "|---|--:|---|"]
    for name, score in tested["metrics"].items():
        count = tested.get(SHARES.get(name.rpartition("/")[2], ""))
        finite = isinstance(score, int | float) and math.isfinite(score)
        between = ""
        if isinstance(count, int) and count > 0 and finite and 0 <= score <= 1:
            between = "{:.4f} to {:.4f}".format(*wilson(score, count))
        lines.append(f"| {plain(name)} | {f'{score:.4f}' if finite else '(not a finite number)'} | {between} |")
    split, data, weights = (plain(tested.get(key, "")) for key in ("split", "dataset", "weights"))
    asked = f"; {tested['queries']:,} queries have a match" if isinstance(tested.get("queries"), int) else ""
    images = f"{tested['samples']:,} images{asked}"
    lines += ["", f"Of {weights} on the {split} split of {data}, {images}, in the run's own precision."]
    of = "queries" if asked else "images"
    lines += [f"The intervals are Wilson's, of a share of that many {of}: they say nothing of other seeds or other data."]
    return lines + _repeats(runs, row, next(iter(tested["metrics"]), ""))


def _repeats(runs: index.Runs, row: Row, metric: str) -> list[str]:
    key = key_of(row)
    group = pool(runs.rows, metric).get(key) if key else None
    if group is None or len(group.values) < 2:
        return ["", "No other run repeats it with another seed."]
    over = group.spread()
    between = " (95 % interval {:.4f} to {:.4f})".format(*over.interval) if over.interval else ""
    return ["", f"Over {over.n} runs that differ in their seed alone, {plain(metric)} is {over.mean:.4f} on average{between}."]


def _use(files: Sequence[Row], facts: dict[str, Any]) -> list[str]:
    steps = ", then ".join(_step(step) for step in facts["steps"])
    output = facts["output"]["name"]
    lines = [
        f"`image` is uint8, batch x {' x '.join(map(str, facts['input']['shape'][1:]))}, any batch: {steps}. The model divides "
        f"and normalises it. `{output}` is float32, {_means(facts)}. `preprocessing.json` says the same for programs.",
        "",
        "```",
    ]
    commands = {
        "onnx": "python run_onnx.py a.jpg b.png            # pip install onnxruntime numpy pillow",
        "torch-export": "python run_torch_export.py a.jpg b.png    # pip install torch numpy pillow",
        "safetensors": "python load_safetensors.py                # pip install safetensors numpy",
    }
    return [*lines, *(commands[row["format"]] for row in _good(files)), "```"]


def _step(step: dict[str, Any]) -> str:
    name, size = next(iter(step.items()))
    return {
        "resize": lambda: f"resized to {size[0]} x {size[1]} (bilinear, antialiased)",
        "resize_shorter": lambda: f"resized so that the shorter side is {size} (bilinear, antialiased)",
        "center_crop": lambda: f"the middle {size[0]} x {size[1]}",
        "other": lambda: f"{plain(size)} (which the examples do not take)",
    }[name]()


def _means(facts: dict[str, Any]) -> str:
    return {
        "class": "batch x classes: a softmax makes probabilities of it",
        "labels": "batch x classes: a sigmoid makes probabilities of it",
        "value": "the value",
        "identity": "batch x numbers, to be compared with other features",
    }[facts["output"]["kind"]]


def _good(files: Sequence[Row]) -> list[Row]:
    return [row for row in files[1:] if "failed" not in row]


def _files(files: Sequence[Row]) -> list[str]:
    lines = ["| file | size | worst difference | batch of 1 | batch of 32 | sha256 |", "|---|--:|--:|--:|--:|---|"]
    for row in _good(files):
        times = [f"{milliseconds:.2f} ms" for milliseconds in row["latency_ms"].values()]
        cells = [row["file"], size(row["bytes"]), f"{row['worst']:.1e}", *times, f"`{row['sha256'][:16]}`"]
        lines.append(f"| {' | '.join(cells)} |")
    times = [f"{milliseconds:.2f} ms" for milliseconds in files[0]["latency_ms"].values()]
    lines.append(f"| (PyTorch) | {size(files[0]['bytes'])} | {files[0]['worst']:.1e} | {' | '.join(times)} | |")
    return [
        *lines,
        "",
        f"Differences are the greatest of any output over {files[0]['images']} test images, from the run's own model; "
        f"{files[0]['allowed']:.1e} is allowed. Times are medians on the exporting machine's CPU.",
    ]


def _training(record: Record) -> list[str]:
    run, config, origins = record.run, read_config(record.path), read_origins(record.path)
    unset = ("default", "derived", "flag --output-dir", "flag --name", "flag --device")
    keys = dict.fromkeys((*ALWAYS, *sorted(key for key, origin in origins.items() if origin not in unset)))
    lines = ["| key | value |", "|---|---|"]
    lines += [f"| {key} | {code(value(config[key]))} |" for key in keys if key in config and key not in ("NAME", "OUTPUT_DIR")]
    git, environment = run.get("git", {}), run.get("environment", {})
    commit = f"{git['commit'][:12]}{', with uncommitted changes' if git.get('dirty') else ''}" if git.get("commit") else "none"
    facts = {
        "code digest": f"`{run.get('code_digest', '')}`", "config digest": f"`{run.get('config_digest', '')}`", "git": commit,
        "started": run.get("started", ""), "ended": record.status.get("ended", ""), "torch": environment.get("torch", ""),
        "device": plain(environment.get("device", "")),
    }  # fmt: skip
    lines += ["", *(f"- {name}: {said}" for name, said in facts.items() if said)]
    return [*lines, "", "The code of the run is in its folder, `scripts/`; `tools/exp.py restore` brings it back, verified."]


def _kept(old: str, heading: str, default: str) -> str:
    """What stands under a heading of an older card."""
    match = re.search(rf"^## {heading}\n+(.*?)(?=^## |\Z)", old, flags=re.MULTILINE | re.DOTALL)
    return (match[1].strip() if match else "") or default
