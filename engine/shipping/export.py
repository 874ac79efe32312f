"""A run's model into a folder that needs no Fieldbook: written aside, checked against the model, and only then put there."""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.shipping.build import Trained
from engine.shipping.exported import Exported, check_images, preprocessing, unexpressed
from engine.shipping.formats import FORMATS, Ask, Format, parity, reason
from modeling.losses.outputs import entry
from utils.errors import UserError
from utils.files import fsync_directory, sha256_file, write_atomic, write_json

TOLERANCE = 1e-4  # of the greatest output, which counts as at least 1
CHECKED, TIMED = (1, 2, 7), (1, 32)  # sizes of batches
SAMPLES = 64  # images of the test that the files are checked by
SECONDS = 0.5  # about as long is each size timed
EXAMPLES = Path(__file__).parent / "examples"
Row = dict[str, Any]


def export_to(
    trained: Trained, images: Tensor, formats: Mapping[str, Format], out: Path, say: Callable[[str], None]
) -> list[Row]:
    """Writes the model in each format, with preprocessing.json, examples and export.json; one that is not equal to the model
    within TOLERANCE, or that cannot be written, is not put there. What is there of earlier weights, or of a format that now
    failed, is removed, so that all files are of one model; but where no format succeeds, all is left as it was.

    Args:
        images: of the run's test, N x C x H x W uint8.
        say: is told what is being done.

    Returns:
        An object a format, the first one the model in PyTorch, the last ones those that stay from an earlier export of the
        same weights: "format", "file", "bytes", "sha256", "worst" (difference; None where there is no number for it),
        "allowed", "images", "latency_ms" {size of the batch: median}; or "failed" and "advice".

    Raises:
        UserError: the samples are no images, or the folder cannot be written.
    """
    check_images(images, trained)
    model, reference = Exported(trained), _reference(trained)
    try:
        out.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".writing-", dir=out))
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); name another folder with -o") from error
    try:
        own = parity(model, reference, images, CHECKED)
        rows: list[Row] = [{"format": "pytorch", "file": "", "bytes": trained.weights.stat().st_size, **_judged(own)}]
        rows[0]["latency_ms"] = latencies(model, images)
        for name, form in formats.items():
            say(f"{name} ...")
            rows.append(_one(name, form, model, reference, images, aside))
        if any("failed" not in row for row in rows[1:]):
            stale = _of_before(trained, rows, out)
            _beside(trained, rows, aside)
            for name in stale:
                (out / name).unlink(missing_ok=True)
        for path in sorted(aside.iterdir()):
            os.replace(path, out / path.name)
        fsync_directory(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return rows


def _reference(trained: Trained) -> Ask:
    """What the run itself makes of uint8 images: its own preparation, then its model."""
    name = Exported(trained).output

    def ask(images: Tensor) -> Tensor:
        return entry(trained.task.model(trained.prepare({"image": images})["image"]), name)

    return ask


def _one(name: str, form: Format, model: Exported, reference: Ask, images: Tensor, folder: Path) -> Row:
    """A file written, read again, compared and timed; deleted where it is not what it should be."""
    path = folder / form.file
    row: Row = {"format": name, "file": form.file}
    try:
        form.write(model, images[:2] if len(images) > 1 else images.repeat(2, 1, 1, 1), path)
        ask = form.load(path, model)
        found = _judged(parity(ask, reference, images, CHECKED))
        row |= {"bytes": path.stat().st_size, "sha256": sha256_file(path), **found}
        worst = found["worst"]
        if worst is None or not worst <= found["allowed"]:
            much = "in its shape or by what is no number" if worst is None else f"by {worst:.3g}"
            said = f"it differs from the model {much}, and {found['allowed']:.3g} is allowed"
            row |= {"failed": said, "advice": "is something drawn at random in evaluation, or counted over the batch?"}
        else:
            row["latency_ms"] = latencies(ask, images)
    except Exception as error:  # exporters raise many kinds
        row |= {"failed": reason(error), "advice": form.advice}
    if "failed" in row:
        path.unlink(missing_ok=True)
    return row


def _judged(found: dict[str, Any]) -> Row:
    worst = found["worst"] if math.isfinite(found["worst"]) else None  # JSON has no infinity
    return {"worst": worst, "allowed": TOLERANCE * found["scale"], "images": found["images"]}


def latencies(ask: Ask, images: Tensor) -> dict[str, float]:
    """Median milliseconds of a batch of each of TIMED, by this process's threads, after a first one."""
    found = {}
    with torch.no_grad():
        for size in TIMED:
            batch = images.repeat(-(-size // len(images)), 1, 1, 1)[:size].contiguous()
            ask(batch)
            times: list[float] = []
            end = time.perf_counter() + SECONDS
            while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
                start = time.perf_counter()
                ask(batch)
                times.append(time.perf_counter() - start)
            found[str(size)] = 1000 * statistics.median(times)
    return found


def _of_before(trained: Trained, rows: list[Row], out: Path) -> list[str]:
    """Adds to `rows` those of an earlier export of the same weights and preprocessing whose files are still as they were; the
    names of the files that have to go."""
    now, facts = {row["format"]: row for row in rows}, _read(out / "preprocessing.json")
    before = _read(out / "export.json")
    same = before.get("weights_sha256") == sha256_file(trained.weights) and facts == json.loads(
        json.dumps(preprocessing(trained))
    )
    known = before.get("formats")
    stale = [row["format"] for row in rows[1:] if "failed" in row]
    for row in known if isinstance(known, list) else []:
        name = row.get("format") if isinstance(row, dict) else None
        if name not in FORMATS or name in now or "failed" in row:
            continue
        path = out / FORMATS[name].file
        if same and path.is_file() and sha256_file(path) == row.get("sha256"):
            rows.append(row)
        else:
            stale.append(name)
    return [file for name in stale for file in (FORMATS[name].file, FORMATS[name].example)]


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; {} where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _beside(trained: Trained, rows: list[Row], folder: Path) -> None:
    """What a format's users need: how an image becomes the input, a script, and what was found here."""
    facts = preprocessing(trained)
    write_json(folder / "preprocessing.json", facts)
    good = [row["format"] for row in rows[1:] if "failed" not in row]
    for name in ("common.py", *(FORMATS[name].example for name in good)):
        write_atomic(folder / name, (EXAMPLES / name).read_text(encoding="utf-8"))
    found = {
        "schema": 1,
        "model": trained.names[0],
        "weights_sha256": sha256_file(trained.weights),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "tolerance": TOLERANCE,
        "not_expressed": unexpressed(facts),
        "formats": rows,
    }
    write_json(folder / "export.json", found)
