"""What the craft is worth: each feature alone, all together and none, mean and std of several seeds, into docs/recipes.md.

    python benchmarks/recipes.py                                        digits, some ten minutes on one core
    python benchmarks/recipes.py --cifar PATH                           CIFAR-10 as an image folder (a class a folder)

Each line is a set of ordinary runs; the table is what `exp.py groups` says of them. Sections of data that is not asked for
stay as they are.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
PAGE = ROOT / "docs" / "recipes.md"

FLIP_CROP = "PadCrop, RandomHorizontalFlip"
CRAFT: dict[str, list[str]] = {
    "label smoothing": ["LOSS.LABEL_SMOOTHING", "0.1"],
    "mixup": ["INPUT.MIXUP_ALPHA", "0.2"],
    "CutMix": ["INPUT.CUTMIX_ALPHA", "1.0", "INPUT.MIX_PROB", "0.5"],
    "RandAugment": ["INPUT.TRANSFORMS_TRAIN", "[{crop}, RandAugment]"],
    "TrivialAugment": ["INPUT.TRANSFORMS_TRAIN", "[{crop}, TrivialAugment]"],
    "Cutout": ["INPUT.TRANSFORMS_TRAIN", "[{crop}, {{Cutout: {{length: {hole}}}}}]"],
    "random erasing": ["INPUT.TRANSFORMS_TRAIN", "[{crop}, RandomErasing]"],
    "repeated augmentation": ["DATALOADER.REPEATS", "2"],
    "EMA of weights": ["SOLVER.EMA_DECAY", "0.98"],
    "SWA of the last third": ["SOLVER.SWA_EPOCHS", "{third}"],
    "gradient clipping": ["SOLVER.CLIP_NORM", "1.0"],
    "accumulation": ["SOLVER.ACCUMULATE", "2"],
    "bf16": ["SOLVER.PRECISION", "bf16"],
    "stochastic depth": ["MODEL.DROP_PATH", "0.05"],
    "focal loss": ["LOSS.NAME", "focal"],
    "polynomial decay": ["SOLVER.SCHEDULE", "polynomial"],
    "plateau": ["SOLVER.SCHEDULE", "plateau", "SOLVER.PLATEAU_PATIENCE", "2"],
    "views at test time": ["TEST.AUGMENT", "[{views}]"],
}
TOGETHER = ("label smoothing", "mixup", "Cutout", "EMA of weights", "gradient clipping", "stochastic depth", "accumulation")


def main() -> None:
    """Runs everything and writes the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cifar", default="", metavar="PATH", help="CIFAR-10 as an image folder (train/ in it); not digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="TEXT", help="only lines whose name contains it (writes no page)")
    args = parser.parse_args()
    title, words, facts = cifar(args.cifar) if args.cifar else digits()
    craft = {name: [part.format(**facts) for part in parts] for name, parts in CRAFT.items()}
    lines = {"none (baseline)": [], **craft, "together": [part for name in TOGETHER for part in craft[name]]}
    lines = {name: parts for name, parts in lines.items() if args.only in name}
    with tempfile.TemporaryDirectory() as folder:
        for name, parts in lines.items():
            for seed in range(args.seeds):
                start = time.perf_counter()
                train([*words, *parts, "--name", slug(name), "--seed", str(seed), "--output-dir", folder])
                print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        text = table(Path(folder), lines)
    print(text)
    if not args.only:
        write(title, words, text, args.seeds)


def digits() -> tuple[str, list[str], dict[str, str]]:
    """The built-in digits with the small residual network."""
    words = ["--config-file", str(ROOT / "configs" / "train_digits_cnn.yml")]
    return "Digits", words, {"crop": "PadCrop", "hole": "3", "third": "5", "views": "five_crop"}


def cifar(path: str) -> tuple[str, list[str], dict[str, str]]:
    """1,000 images of CIFAR-10 to learn from and 1,000 to test on, five epochs of resnet20."""
    words = ["--config-file", str(ROOT / "configs" / "train_cifar10_resnet20.yml"), "DATASETS.TRAIN", f"image_folder:{path}"]
    words += [
        "DATASETS.LIMIT",
        "1000",
        "DATASETS.VAL_FRACTION",
        "0.005",
        "SOLVER.MAX_EPOCHS",
        "5",
        "SOLVER.SCHEDULE",
        "one_cycle",
        "SOLVER.STEPS",
        "()",
    ]
    words += ["SOLVER.WARMUP_ITERS", "0", "SOLVER.IMS_PER_BATCH", "64", "INPUT.TRANSFORMS_TRAIN", f"[{FLIP_CROP}]"]
    return "CIFAR-10", words, {"crop": FLIP_CROP, "hole": "8", "third": "2", "views": "hflip"}


def train(words: list[str]) -> None:
    """One run of the real tool, in this process."""
    import train_net

    logging.getLogger("fieldbook").handlers.clear()
    code = train_net.main(words)
    assert code == 0, f"exit code {code}: {words}"


def slug(name: str) -> str:
    """A run's name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")


def table(folder: Path, lines: dict[str, list[str]]) -> str:
    """Mean and std of the test's top-1 beside the baseline's, and whether the difference is more than noise."""
    from tracking import wording
    from tracking.judging.groups import verdict
    from tracking.judging.noise import difference, spread
    from tracking.reading.index import load

    rows = load(folder).rows
    spreads = {}
    for name in lines:
        spreads[name] = spread([row["metrics"]["test/top1"]["last"] for row in rows if row["name"] == slug(name)])
    base = next(iter(spreads.values()))
    text = ["| craft | keys | test/top1 | std | difference | |", "|---|---|---|---|---|---|"]
    for name, own in spreads.items():
        gap = difference(own, base)
        keys = " ".join(lines[name]) if name != "together" else ", ".join(TOGETHER)
        said = ("", "") if own is base else (wording.signed(gap.value), verdict(gap, lower=False))
        text.append(f"| {name} | `{keys}` | {own.mean:.4f} | {wording.number(own.std)} | {said[0]} | {said[1]} |")
    return "\n".join(text).replace("| `` |", "| |") + "\n"


def write(title: str, words: list[str], text: str, seeds: int) -> None:
    """Puts the section into the page, in place of an older one."""
    head = (
        "# What the craft is worth\n\nMade by `python benchmarks/recipes.py` and `python benchmarks/recipes.py --cifar PATH`; "
        "the verdicts are those of `exp.py groups`.\nOn runs this short little of it can pay: the tables show that each "
        "feature runs, alone and together, and how to ask\nwhether it helps on data of your own.\n"
    )
    shown = " ".join(re.sub(r"image_folder:\S+", "image_folder:PATH", word.removeprefix(f"{ROOT}/")) for word in words)
    section = f"## {title}\n\n`tools/train_net.py {shown}`, {seeds} seeds a line.\n\n{text}"
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else head
    parts = re.split(r"(?m)^(?=## )", page)
    kept = [part.rstrip() + "\n" for part in parts if not part.startswith(f"## {title}\n")]
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join([*kept, section]), encoding="utf-8")


if __name__ == "__main__":
    main()
