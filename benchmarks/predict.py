"""Images a second of a run's predictor on a folder of JPEGs, over a plain loop by hand on the same model.

    python -m benchmarks.predict [--json] [--rounds 5]

JPEGs of 500 x 375, resized to 96 pixels, two cores; the model is the mlp, so that reading is most of the work. The loop by
hand opens a file with Pillow, resizes it, makes a tensor of it, and asks the model batch by batch; `dataset` is torchvision's
ImageFolder with a DataLoader of two workers, normalised alike. `ratio` is ours over the loop by hand: images/s, the more the
better. Times are of prediction alone, without the start of Python and of the model; the DataLoader's workers are started within
them, for a folder is predicted once.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image

from benchmarks.common import arguments, quiet, ratio, seconds, show, spread
from benchmarks.jpeg import make_folder

IMAGES, SIZE, BATCH = 320, 96, 32
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__, rounds=5)
    with tempfile.TemporaryDirectory() as place:
        make_folder(Path(place) / "images", IMAGES, None)
        files = sorted(map(str, Path(place, "images").glob("*/*.jpg")))
        predictor = train(Path(place))
        model = predictor.trained.task.model
        found: dict[str, list[float]] = {"ours": [], "by hand": [], "dataset": []}
        competitors = {
            "ours": lambda: predictor(files),
            "by hand": lambda: by_hand(model, files),
            "dataset": lambda: by_dataset(model, Path(place) / "images"),
        }
        for act in competitors.values():
            act()
        for _ in range(args.rounds):
            for name, act in competitors.items():
                found[name].append(IMAGES / seconds(act))
    result: dict[str, Any] = {
        "ratio": ratio(found["ours"], found["by hand"]),
        "spread": spread(found["ours"], found["by hand"]),
        "ratio_to_dataset": ratio(found["ours"], found["dataset"]),
        "spread_to_dataset": spread(found["ours"], found["dataset"]),
        "images_per_second": {name: statistics.median(rates) for name, rates in found.items()},
        "images": IMAGES,
        "threads": predictor.threads,
        "rounds": args.rounds,
    }
    show(result, args.json)


def train(place: Path) -> Any:
    """The predictor of a run of one step."""
    import train_net

    from engine.shipping import load_predictor

    keys = ["DATASETS.TRAIN", f"image_folder:{place / 'images'}", "SOLVER.MAX_STEPS", "1", "INPUT.SIZE_TRAIN", str(SIZE)]
    keys += ["MODEL.NAME", "mlp", "MODEL.DEVICE", "cpu", "TEST.IMS_PER_BATCH", str(BATCH), "TEST.AT_END", "False"]
    with quiet():
        code = train_net.main(["--name", "predict", "--output-dir", str(place / "exp"), *keys])
    assert code == 0, f"the run ended with {code}"
    return load_predictor("predict", folder=place / "exp")


@torch.no_grad()
def by_hand(model: torch.nn.Module, files: list[str]) -> list[int]:
    """Open, resize, normalise, stack, ask."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    said: list[int] = []
    for start in range(0, len(files), BATCH):
        images = []
        for file in files[start : start + BATCH]:
            image = Image.open(file).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            images.append((torch.from_numpy(numpy.array(image)).permute(2, 0, 1) / 255 - mean) / std)
        said += model(torch.stack(images)).softmax(dim=1).argmax(dim=1).tolist()
    return said


@torch.no_grad()
def by_dataset(model: torch.nn.Module, folder: Path) -> list[int]:
    """The usual classes, with two workers."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [transforms.Resize((SIZE, SIZE)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    images = ImageFolder(str(folder), transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(images, BATCH, num_workers=2)
    return [number for image, _ in loader for number in model(image).softmax(dim=1).argmax(dim=1).tolist()]


if __name__ == "__main__":
    main()
