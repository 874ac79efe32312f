"""What old experiment folders hold: TensorBoard events, log lines, YAML, and notes typed in from paper."""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from utils.errors import UserError

LOG = logging.getLogger("fieldbook.tracking")
Curves = dict[str, list[tuple[int, float, float]]]  # metric -> (step, time, value), steps rising

_SCORES = "loss|acc|accuracy|top1|top5|top-1|top-5|map|miou|iou|f1|auc|error|lr|psnr|ssim|mae|mse|rmse|precision|recall|dice"
_SCORE = re.compile(
    rf"(?<![\w/])((?:[a-z][\w-]*[/_ ])?(?:{_SCORES}))(?:\s*[:=]\s*|\s+(?=-?\d*\.))(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(%?)",
    re.IGNORECASE,
)
_EPOCH = re.compile(r"epoch\W{0,3}(\d+)", re.IGNORECASE)
_STEP = re.compile(r"(?:iter(?:ation)?|step)\W{0,3}(\d+)", re.IGNORECASE)
_SPLITS = (("val", re.compile(r"valid|\bval|eval", re.I)), ("test", re.compile(r"\btest", re.I)))
_JOINED = ("folder", "run", "name", "id", "path")


def read_events(files: Iterable[Path]) -> Curves:
    """All scalars of TensorBoard's event files; folders that cannot be read are warned of.

    Raises:
        UserError: tensorboard is not installed.
    """
    curves: Curves = {}
    for folder in sorted({file.parent for file in files}):
        try:
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        except ImportError as error:
            raise UserError("reading TensorBoard files needs tensorboard: pip install tensorboard") from error
        try:
            events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
            for tag in events.Tags()["scalars"]:
                points = [(int(e.step), float(e.wall_time), float(e.value)) for e in events.Scalars(tag)]
                curves.setdefault(tag.strip().replace(" ", "_"), []).extend(p for p in points if math.isfinite(p[2]))
        except Exception as error:  # torn and foreign files raise whatever protobuf does
            LOG.warning("%s: TensorBoard files cannot be read (%s)", folder, error)
    return {name: sorted(points) for name, points in curves.items() if points}


def read_log(path: Path) -> Curves:
    """Scores from lines such as `Validation Results - Epoch: 3 Avg accuracy: 0.98 Avg Loss: 0.05`.

    The step is the iteration where a line names one, else the epoch. Percentages become fractions.
    """
    curves: Curves = {}
    epoch = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        named = _EPOCH.search(line)
        epoch = int(named[1]) if named else epoch
        step = _STEP.search(line)
        split = next((name for name, pattern in _SPLITS if pattern.search(line)), "train")
        for words, number, percent in _SCORE.findall(line):
            own = next(
                (part for part, pattern in _SPLITS if pattern.search(words)), "train" if "train" in words.lower() else split
            )
            name = re.sub(r"^(avg|average|mean|train(ing)?|val(id|idation)?|test)[/_ ]", "", words.strip().lower())
            name = name.replace(" ", "_")
            value = float(number) / (100.0 if percent else 1.0)
            curves.setdefault(name if name == "lr" else f"{own}/{name}", []).append(
                (int(step[1]) if step else epoch, 0.0, value)
            )
    return {name: sorted(points) for name, points in curves.items()}


def read_yaml(path: Path) -> dict[str, Any] | None:
    """A YAML file that holds a mapping, else None. Tags that run code are refused by the loader."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return None
    return content if isinstance(content, dict) else None


def read_notes(path: Path) -> dict[str, dict[str, str]]:
    """A CSV typed in from paper: folder's name -> {column: text}. The folder stands in a column folder, run, name, id or
    path, else in the first.

    Raises:
        UserError: it cannot be read, has no header, or names a folder twice.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [column for column in reader.fieldnames or [] if column]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error})") from error
    if not columns:
        raise UserError(f"{path}: expected a first line with column names, such as folder,why,verdict,tags")
    key = next((c for c in columns if c.strip().lower() in _JOINED), columns[0])
    found: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows, start=2):
        name = Path((row.get(key) or "").strip().rstrip("/")).name
        if not name:
            continue
        if name in found:
            raise UserError(f"{path}:{number}: {name!r} stands there twice")
        found[name] = {c.strip().lower(): (row.get(c) or "").strip() for c in columns if c != key}
    return found
