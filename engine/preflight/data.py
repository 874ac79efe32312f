"""What can be seen of a data set in one batch and in its targets, before anything is trained on them."""

from __future__ import annotations

from collections import Counter
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from data.dataset import Dataset
from data.identities import JUNK
from data.identity_checks import describe_identities
from engine.preflight.table import Finding
from engine.task import Batch

BARS = "▁▂▃▄▅▆▇█"


def look_at_batch(split: str, raw: Batch, prepared: Batch, dataset: Dataset) -> list[Finding]:
    """Shapes, types and ranges before and after normalising; what is not finite, out of range or constant."""
    before, after = raw.get("image"), prepared.get("image")
    if not isinstance(before, Tensor) or not isinstance(after, Tensor) or not before.numel():
        shown = ", ".join(f"{name} {describe(value)}" for name, value in raw.items())
        return [Finding(split, "note", f"its batch has no image that could be looked at: {shown}")]
    others = [f"{name} {describe(value)}" for name, value in raw.items() if name not in ("image", "index")]
    dtype, after = describe(after, False), after.float()
    mean, std = float(after.mean()), float(after.std(correction=0))
    seen = (
        f"image {describe(before)} from {before.min():.4g} to {before.max():.4g}; normalised {dtype} from "
        f"{after.min():.2f} to {after.max():.2f}, mean {mean:.2f}, std {std:.2f}"
    )
    findings = [Finding(split, "ok", f"{seen}; {', '.join(others)}" if others else seen)]
    if not torch.isfinite(after).all():
        bad = [i for i, part in enumerate(after) if not torch.isfinite(part).all()]
        remedy = "mend or remove them, or set INPUT.PIXEL_STD without a 0"
        findings.append(Finding(split, "wrong", f"values that are not finite in {_named(raw, bad, dataset)}", remedy))
    elif before.dtype == torch.uint8 and (abs(mean) > 3 or not 0.05 < std < 5):
        remedy = "`tools/analyze.py data` prints the mean and std for INPUT.PIXEL_MEAN and INPUT.PIXEL_STD"
        findings.append(Finding(split, "note", "normalised values are far from mean 0 and std 1", remedy))
    constant = [i for i, part in enumerate(before) if part.numel() == 0 or part.numel() > 1 and bool(part.min() == part.max())]
    if constant and before[0].numel() > before.shape[1]:  # a table's row has no pixels to differ
        few = f"{len(constant)} of {len(before)} images are of one value throughout: {_named(raw, constant, dataset)}"
        findings.append(Finding(split, "note", few, "look at these files; `tools/analyze.py data` draws a batch"))
    return findings + _targets_out_of_range(split, raw, dataset)


def histogram(split: str, dataset: Dataset) -> list[Finding]:
    """How the targets of a whole split are spread; nothing where they are neither classes nor numbers."""
    targets = list(dataset.targets)
    if not targets or not all(isinstance(t, Real) for t in targets):
        return []
    if not dataset.classes:
        values = torch.tensor(targets, dtype=torch.float64)
        text = f"targets from {values.min():.4g} to {values.max():.4g}, mean {values.mean():.4g}"
        return [Finding(split, "ok", f"{len(targets)} {text}, std {values.std(correction=0):.4g}")]
    if dataset.open_set:
        said = f"{len(targets)} images: {describe_identities(dataset, split == 'train')}"
        if split == "train":
            images = sorted(Counter(targets).values())
            said += f", {images[0]}{f' to {images[-1]}' if images[-1] > images[0] else ''} images each"
        return [Finding(split, "ok", said)]
    known = Counter(targets)
    counts = [known[number] for number in range(len(dataset.classes))]
    least, most = min(counts), max(counts)
    names = [str(dataset.classes[counts.index(count)]) for count in (least, most)]
    spread = f"{least} each" if least == most else f"{least} ({names[0]}) to {most} ({names[1]}) each"
    bars = "  " + "".join(BARS[round(7 * n / max(most, 1))] for n in counts) if len(counts) <= 40 else ""
    findings = [Finding(split, "ok", f"{len(targets)} samples of {len(counts)} classes, {spread}{bars}")]
    absent = [str(dataset.classes[n]) for n, count in enumerate(counts) if not count]
    if absent:
        shown = ", ".join(absent[:5]) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        remedy = "the data may be incomplete, or the split too small (DATASETS.VAL_FRACTION, DATASETS.LIMIT)"
        findings.append(Finding(split, "note", f"no sample of {shown}", remedy))
    return findings


def describe(value: Any, shape: bool = True) -> str:
    """`128x3x32x32 uint8`, or the type of what is no tensor."""
    if not isinstance(value, Tensor):
        return f"{type(value).__name__} of {len(value)}" if isinstance(value, list | tuple) else type(value).__name__
    dtype = str(value.dtype).removeprefix("torch.")
    return f"{'x'.join(map(str, value.shape))} {dtype}" if shape else dtype


def _targets_out_of_range(split: str, raw: Batch, dataset: Dataset) -> list[Finding]:
    target = raw.get("target")
    if not dataset.classes or not isinstance(target, Tensor) or target.ndim != 1 or target.is_floating_point():
        return []
    least = JUNK if dataset.open_set else 0
    bad = [i for i, value in enumerate(target.tolist()) if not least <= value < len(dataset.classes)]
    if not bad:
        return []
    text = f"target {int(target[bad[0]])} of {_named(raw, bad, dataset)} is none of {len(dataset.classes)} classes"
    return [Finding(split, "wrong", text, f"targets are 0 to {len(dataset.classes) - 1}, in the order of `classes`")]


def _named(raw: Batch, rows: list[int], dataset: Dataset, most: int = 3) -> str:
    """The first of some samples of a batch, by where they come from."""
    names = [dataset.path(int(raw["index"][row])) for row in rows[:most]]
    return ", ".join(names) + (f" and {len(rows) - most} more" if len(rows) > most else "")
