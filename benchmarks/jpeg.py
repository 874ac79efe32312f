"""How fast a folder of JPEGs becomes batches: random crops of 224 pixels, mirrored, against torchvision as it is usually used.

    python -m benchmarks.jpeg [--json] [--rounds 5] [--images 800] [--photos FOLDER]

The competitors take turns over the same files, and medians are taken: of images a second, and of each round's ratios.
`ratio` is that of uint8 to torchvision.

    torchvision   ImageFolder, DataLoader with as many workers as there are cores, kept alive between epochs; normalised floats
    pictures      the same, as uint8
    uint8         the loader `threads` with as many threads: batches as the loop gets them
    float         the same, normalised by what the loop normalises with
    decoding      as many threads that decode the same files, already in memory, whole and do nothing else
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import torch
from PIL import Image

from benchmarks.common import ROOT, make_parser, ratio, seconds, spread
from config import Config, load_file
from data import jpeg
from data.build import build_prepare, build_splits, make_data_loader

BATCH, SIZE, CLASSES = 64, 224, 4
TARGETS = {"uint8": 2.5, "float": 2.0, "decoding": 0.6}
SHARED = ROOT.parent / "shared" / "data" / "photos" / "photos-200.tar"


def arguments(description: str | None) -> argparse.Namespace:
    """Those of a benchmark on a folder of JPEGs."""
    parser = make_parser(description, rounds=5, peers=False)
    parser.add_argument("--images", type=int, default=800, help="files in the folder; photographs are repeated")
    parser.add_argument("--photos", type=Path, default=None, metavar="FOLDER", help="JPEGs to use (default: made ones)")
    parser.add_argument("--threads", type=int, default=2, help="threads, and workers of other loaders")
    return parser.parse_args()


def main() -> None:
    """Measures and prints."""
    args = arguments(__doc__)
    torch.set_num_threads(1)  # what the threads and workers leave of the cores
    with tempfile.TemporaryDirectory() as place:
        source = make_folder(Path(place), args.images, args.photos)
        result = measure(Path(place), args.rounds, args.images, args.threads)
    result = {"photos": source, "images": args.images, "decoder": "simplejpeg" if jpeg.available() else "Pillow", **result}
    if args.json:
        print(json.dumps(result))
        return
    for name, rate in result["images_per_second"].items():
        print(f"{name:12s} {rate:7.0f} images/s")
    for name, target in TARGETS.items():
        print(f"{name:12s} {result[name]:.2f} (wanted: {target})")


def make_folder(place: Path, images: int, photos: Path | None) -> str:
    """A class a folder below `place`; what the pictures are is returned."""
    contents = [file.read_bytes() for file in sorted(photos.iterdir())] if photos else shared_photos() or made_photos()
    for number in range(images):
        file = place / f"class{number % CLASSES}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(contents[number % len(contents)])
    return f"{photos}" if photos else "photographs" if SHARED.exists() else "made"


def shared_photos() -> list[bytes]:
    """Photographs that lie beside the project, if any do."""
    import tarfile

    if not SHARED.exists():
        return []
    with tarfile.open(SHARED) as archive:
        files = [archive.extractfile(member) for member in archive.getmembers() if member.isfile()]
        return [file.read() for file in files if file is not None]


def made_photos(count: int = 100) -> list[bytes]:
    """Smooth colours with noise, 500 x 375, which come to some 70 kB as photographs of that size do."""
    contents = []
    for number in range(count):
        rng = numpy.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=numpy.uint8)).resize(
            (500, 375), Image.Resampling.BICUBIC
        )
        noisy = numpy.asarray(coarse) + rng.normal(0, 7, (375, 500, 1))
        stream = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(numpy.uint8)).save(stream, "JPEG", quality=90)
        contents.append(stream.getvalue())
    return contents


def measure(folder: Path, rounds: int, images: int, threads: int) -> dict[str, Any]:
    """Images a second of each, and the ratios."""
    cfg = settings(f"image_folder:{folder}", folder, threads)
    splits = build_splits(cfg)
    loader = make_data_loader(cfg, "train", splits)
    prepare = build_prepare(cfg, splits, torch.device("cpu"), train=True)
    contents = [Path(splits.train.path(index)).read_bytes() for index in range(images)]
    usual, pictures = torchvision_loader(folder, threads), torchvision_loader(folder, threads, floats=False)
    competitors: dict[str, Callable[[], Any]] = {
        "torchvision": lambda: use(image for image, _ in usual),
        "pictures": lambda: use(image for image, _ in pictures),
        "uint8": lambda: use(batch["image"] for batch in loader),
        "float": lambda: use(prepare(batch)["image"] for batch in loader),
        "decoding": lambda: decode(contents, threads),
    }
    rates = in_turns(competitors, rounds, images)
    return {"rounds": rounds, "threads": threads, "images_per_second": medians(rates), **ratios(rates)}


def settings(name: str, root: Path, threads: int) -> Config:
    """The config of that data set, cropped at random and mirrored, read by `threads` threads."""
    return load_file(None, [
        ("DATASETS.TRAIN", name), ("DATASETS.VAL", name), ("DATASETS.TEST", name), ("DATASETS.ROOT", str(root)),
        ("INPUT.SIZE_TRAIN", f"[{SIZE}, {SIZE}]"), ("INPUT.TRANSFORMS_TRAIN", "[RandomResizedCrop, RandomHorizontalFlip]"),
        ("INPUT.MIN_SCALE_TRAIN", "0.08"), ("INPUT.MAX_SCALE_TRAIN", "1.0"), ("SOLVER.IMS_PER_BATCH", str(BATCH)),
        ("DATALOADER.LOADER", "threads"), ("DATALOADER.NUM_WORKERS", str(threads)),
    ])  # fmt: skip


def in_turns(competitors: dict[str, Callable[[], Any]], rounds: int, images: int) -> dict[str, list[float]]:
    """Images a second of each, round by round; a first round warms up and is left out."""
    rates: dict[str, list[float]] = {name: [] for name in competitors}
    for number in range(rounds + 1):
        for name, act in competitors.items():
            taken = seconds(act)
            if number:
                rates[name].append(images / taken)
    return rates


def medians(rates: dict[str, list[float]]) -> dict[str, float]:
    """Of each competitor's rounds."""
    return {name: statistics.median(values) for name, values in rates.items()}


def ratios(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Medians of the rounds' ratios, with the least and greatest: to torchvision, and of uint8 to decoding alone."""
    pairs = {
        "uint8": ("uint8", "torchvision"), "float": ("float", "torchvision"), "level": ("uint8", "pictures"),
        "decoding": ("uint8", "decoding"),
    }  # fmt: skip
    found = {name: ratio(rates[one], rates[other]) for name, (one, other) in pairs.items()}
    spreads = {name: spread(rates[one], rates[other]) for name, (one, other) in pairs.items()}
    return {"ratio": found["uint8"], "spread": spreads["uint8"], **found, "spreads": spreads}


def torchvision_loader(folder: Path, workers: int, *, floats: bool = True) -> torch.utils.data.DataLoader[Any]:
    """ImageFolder and its transforms as torchvision's own examples have them."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    last = [transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    usual = transforms.Compose([
        transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(),
        *(last if floats else [transforms.PILToTensor()]),
    ])  # fmt: skip
    return torch.utils.data.DataLoader(
        ImageFolder(str(folder), usual), BATCH, shuffle=True, num_workers=workers, persistent_workers=True
    )


def use(images: Iterable[torch.Tensor]) -> None:
    """Takes them one after another, as a loop does."""
    for image in images:
        assert image.shape[1:] == (3, SIZE, SIZE)


def decode(contents: list[bytes], threads: int) -> None:
    """Every file, whole; in chunks, for a task a file would measure the queue as well."""

    def some(part: list[bytes]) -> None:
        for content in part:
            one(content)

    def by_pillow(content: bytes) -> None:
        Image.open(io.BytesIO(content)).convert("RGB")

    one: Callable[[bytes], object] = by_pillow
    if jpeg.available():
        import simplejpeg

        one = simplejpeg.decode_jpeg
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, [contents[start : start + 16] for start in range(0, len(contents), 16)]))


if __name__ == "__main__":
    main()
