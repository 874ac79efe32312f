"""What a model card has to say against its model, as far as a record tells."""

from __future__ import annotations

import math
from typing import Any

from tracking.record import Record, state_of
from tracking.wording import plain

UNEQUAL = 1.5  # times as many images of one class as of another
FEW = 1000  # images of a test, below which its size is a limit


def limits(record: Record, tested: dict[str, Any], facts: dict[str, Any], irregular: str) -> list[str]:
    """Sentences, the gravest first.

    Args:
        tested: the content of test.json, or {}.
        facts: the content of preprocessing.json.
        irregular: why the record does not tell all that the weights come from, or "".
    """
    found = []
    if state_of(record) != "finished":
        found.append(f"The run is {state_of(record)}: these weights are of a part of its training.")
    elif irregular:
        found.append(f"The record does not tell all that the weights come from: {irregular}.")
    data = parts_of(record)
    names = sorted({str(part.get("name", "")) for part in data.values()})
    if not tested:
        found.append("No score is known of it.")
    elif tested["samples"] < FEW:
        found.append(f"The test has {tested['samples']} images only: mind the interval of its score.")
    if "val" not in data:
        found.append("There was no validation split: the weights are the last ones, and nothing but training chose them.")
    if len(names) == 1:
        found.append("Training and test images are of one data set: of images from elsewhere the score says little.")
    found += _of_classes(tested, facts["output"]["kind"])
    _, _, height, width = facts["input"]["shape"]
    found.append(f"It sees {height} x {width} pixels: smaller things are lost, and images of other shapes are resized.")
    calibration = tested.get("calibration")
    gap = calibration.get("ece") if isinstance(calibration, dict) else None
    known = isinstance(gap, int | float) and math.isfinite(gap)
    if known:
        found.append(f"Its probabilities miss the share that is right by {gap:.4f} on average (expected calibration error).")
    return [*found, _untested(not known and facts["output"]["kind"] not in ("value", "identity"))]


def parts_of(record: Record) -> dict[str, dict[str, Any]]:
    """Each split that the record tells of: its name, counts and digest."""
    return {split: part for split, part in record.run.get("data", {}).items() if isinstance(part, dict)}


def _of_classes(tested: dict[str, Any], kind: str) -> list[str]:
    """Classes that the test has few of, and those that are told worst."""
    found = []
    if kind == "class":
        found.append("An image of anything else is given one of its classes as well, perhaps with a high probability.")
    classes = tested.get("per_class")
    known = classes if isinstance(classes, dict) else {}
    names, support, recall = (known.get(name) or [] for name in ("classes", "support", "recall"))
    if not names or not len(names) == len(support) == len(recall) or None in (*support, *recall):
        return found
    rows = [row for row in zip(recall, map(plain, names), support, strict=True) if row[2] > 0]
    absent = len(names) - len(rows)
    if absent:
        found.append(f"{absent} of its {len(names)} classes have no image in the test.")
    if not rows:
        return found
    least, most = min(rows, key=lambda row: row[2]), max(rows, key=lambda row: row[2])
    if most[2] > UNEQUAL * least[2]:
        found.append(f"The test's classes are unequal: {least[2]:.0f} images of {least[1]}, {most[2]:.0f} of {most[1]}.")
    worst = sorted(rows)[:3] if len(rows) > 3 else sorted(rows)[:1]
    said = ", ".join(f"{row[1]} ({row[0]:.2f})" for row in worst)
    found.append(f"Worst told {'are' if len(worst) > 1 else 'is'} (share of their images that is recognised): {said}.")
    return found


def _untested(calibration: bool) -> str:
    sure = "whether its probabilities are calibrated, " if calibration else ""
    return f"Not tested: {sure}images that are blurred, rotated or meant to mislead it, and fairness between groups."
