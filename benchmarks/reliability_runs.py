"""Small runs of the real tool, what they leave behind, and how two ends are compared byte for byte."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EPOCHS = 6
BASE = [
    "DATASETS.TRAIN", "synthetic:96x1x8x8x4", "MODEL.NAME", "mlp", "MODEL.HIDDEN", "[256, 256]", "MODEL.DEVICE", "cpu",
    "SOLVER.IMS_PER_BATCH", "16", "SOLVER.MAX_EPOCHS", str(EPOCHS), "SOLVER.LOG_PERIOD", "1", "SOLVER.CHECKPOINT_PERIOD", "1",
]  # fmt: skip

# Each is another part of the state: what it forgets to save or to draw by position shows as differing bytes.
VARIANTS: dict[str, list[str]] = {
    "plain": [],
    "cosine, accumulation": ["SOLVER.SCHEDULE", "cosine", "SOLVER.WARMUP_ITERS", "4", "SOLVER.ACCUMULATE", "2"],
    "augmentation, EMA": [
        "INPUT.TRANSFORMS_TRAIN", "[PadCrop, RandomHorizontalFlip, RandomErasing]", "SOLVER.EMA_DECAY", "0.9",
    ],
    "2 workers, Adam": [
        "DATALOADER.LOADER", "processes", "DATALOADER.NUM_WORKERS", "2", "INPUT.TRANSFORMS_TRAIN", "[PadCrop]",
        "SOLVER.OPTIMIZER_NAME", "Adam", "SOLVER.BASE_LR", "0.001",
    ],
    "a checkpoint each step": ["SOLVER.CHECKPOINT_SECONDS", "0.0001", "SOLVER.TOP_K", "1"],
    "dropout of paths, batch norm": [
        "MODEL.NAME", "example_model", "MODEL.DROP_PATH", "0.3", "SOLVER.OPTIMIZER_NAME", "AdamW", "SOLVER.BASE_LR", "0.001",
        "SOLVER.SCHEDULE", "one_cycle", "SOLVER.CLIP_NORM", "1",
    ],
    "mixup, plateau": [
        "INPUT.MIXUP_ALPHA", "0.2", "INPUT.CUTMIX_ALPHA", "1", "SOLVER.SCHEDULE", "plateau", "SOLVER.PLATEAU_PATIENCE", "1",
        "SOLVER.EARLY_STOP", "9", "LOSS.LABEL_SMOOTHING", "0.1",
    ],
    "repeats, polynomial, SWA": [
        "DATALOADER.REPEATS", "2", "INPUT.TRANSFORMS_TRAIN", "[PadCrop, RandAugment]", "SOLVER.SCHEDULE", "polynomial",
        "SOLVER.SWA_EPOCHS", "2",
    ],
    "bf16, RMSprop": [
        "SOLVER.PRECISION", "bf16", "SOLVER.OPTIMIZER_NAME", "RMSprop", "SOLVER.BASE_LR", "0.0005", "SOLVER.CLIP_VALUE", "0.5",
    ],
}  # fmt: skip


def tool(words: list[str]) -> Callable[[], None]:
    """What `python tools/train_net.py WORDS` runs."""

    def act() -> None:
        import _root
        import train_net

        sys.argv = ["train_net.py", *words]
        _root.run_tool(train_net.main)

    return act


def start_words(variant: str, folder: Path) -> list[str]:
    """The command line of a new run."""
    return [*BASE, *VARIANTS[variant], "NAME", "victim", "--output-dir", str(folder)]


def resume_words(run: Path) -> list[str]:
    """The command line of going on."""
    return ["--resume", str(run)]


def only_run(folder: Path) -> Path | None:
    """The run of a folder that has one; None before it is born."""
    found = [path for path in folder.glob("victim_*") if path.is_dir()] if folder.is_dir() else []
    return found[0] if found else None


def newest_step(run: Path) -> int:
    """The step of the newest whole checkpoint that lies there, by what torch.load says of each; 0 without any."""
    steps = [0]
    for path in [run / "weights" / "last.pt", *(run / "weights").glob("epoch_*.pt")]:
        content = load(path)
        if content is not None:
            steps.append(int(content["progress"]["step"]))
    return max(steps)


def any_unreadable(run: Path) -> bool:
    """Whether a file that bears a checkpoint's name cannot be read."""
    return any(load(path) is None for path in (run / "weights").glob("[!.]*.pt"))


def steps_done(run: Path) -> int:
    """The last step that metrics.jsonl tells of; a torn last line is passed over."""
    try:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def load(path: Path) -> dict[str, Any] | None:
    """A checkpoint's content by plain torch.load; None where it cannot be read."""
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # torch raises many kinds for broken files
        return None
    return content if isinstance(content, dict) else None


@dataclass
class Difference:
    """Bytes compared and bytes that differ; `where` is the first key that does."""

    compared: int = 0
    differing: int = 0
    where: str = ""

    def note(self, size: int, count: int, key: str) -> None:
        """Adds a part."""
        self.compared += size
        self.differing += count
        if count and not self.where:
            self.where = key


def compare(one: Any, other: Any, key: str = "", found: Difference | None = None) -> Difference:
    """Two checkpoints, key by key; what lies under the top key `meta` may differ."""
    import torch

    found = Difference() if found is None else found
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        a, b = _bytes(one), _bytes(other)
        same = one.dtype == other.dtype and one.shape == other.shape
        found.note(len(a), int((a != b).sum()) if same else max(len(a), len(b), 1), key)
    elif isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *(name for name in other if name not in one)]:
            if key or name != "meta":
                compare(one.get(name, _ABSENT), other.get(name, _ABSENT), f"{key}.{name}", found)
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            compare(a, b, f"{key}[{number}]", found)
    else:
        a, b = repr(one), repr(other)
        unequal = sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))
        found.note(len(a), unequal, key)
    return found


_ABSENT = "(absent)"


def _bytes(tensor: Any) -> Any:
    import torch

    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8) if flat.numel() and flat.dim() else flat.to(torch.uint8)


def compare_ends(whole: Path, resumed: Path) -> Difference:
    """last.pt, key by key, and the scores of the test at the end."""
    one, other = load(whole / "weights" / "last.pt"), load(resumed / "weights" / "last.pt")
    assert one is not None, whole
    found = compare(one, other if other is not None else {})
    for path in (whole / "test.json", resumed / "test.json"):
        if not path.is_file():
            found.note(0, 1, f"{path.name} is missing")
            return found
    scores = [json.loads((path / "test.json").read_text())["metrics"] for path in (whole, resumed)]
    return compare(scores[0], scores[1], "test.json", found)


def spread(count: int, parts: int) -> list[int]:
    """`count` over `parts`, as evenly as can be."""
    return [math.floor(count * (i + 1) / parts) - math.floor(count * i / parts) for i in range(parts)]
