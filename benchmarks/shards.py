"""How fast shards become batches, beside the same JPEGs as loose files: random crops of 224 pixels, the files being in memory.

    python -m benchmarks.shards [--json] [--rounds 5] [--images 800] [--photos FOLDER]

The competitors take turns, and medians are taken: of images a second, and of each round's ratios. `ratio` is that of images/s
from shards to those from loose files, whose batches the loader `threads` makes of both. `bytes` compares reading alone, without
decoding, in an epoch's order and by one thread: every sample's bytes from shards, with their checksums, over those of loose
files; webdataset's reader, which goes through its shards in order, beside them.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import jpeg
from benchmarks.common import ratio, spread
from data.build import build_splits, make_data_loader
from data.datasets.shards import ShardImages

SHARDS = 20


def main() -> None:
    """Measures and prints."""
    args = jpeg.arguments(__doc__)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        loose, shards = Path(place, "loose"), Path(place, "shards")
        loose.mkdir()
        source = jpeg.make_folder(loose, args.images, args.photos)
        pack(loose, shards, args.images)
        found = measure(loose, shards, args.rounds, args.images, args.threads)
    result = {"photos": source, "images": args.images, "shards": SHARDS, "rounds": args.rounds, **found}
    if args.json:
        print(json.dumps(result))
        return
    for name, rate in result["images_per_second"].items():
        print(f"{name:22s} {rate:8.0f} images/s  {result['megabytes_per_second'][name]:8.0f} MB/s")
    print(f"{'shards over loose':22s} {result['ratio']:.2f}")
    print(f"{'the same, bytes alone':22s} {result['bytes']:.2f}")


def pack(loose: Path, shards: Path, images: int) -> None:
    """tools/pack.py."""
    import pack as tool

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        tool.main([str(loose), "-o", str(shards), "--samples", str(-(-images // SHARDS))])


def measure(loose: Path, shards: Path, rounds: int, images: int, threads: int) -> dict[str, Any]:
    """Rates of each, and the ratios."""
    names = {"loose": f"image_folder:{loose}", "shards": f"shards:{shards}/train-*.tar"}
    configs = {kind: jpeg.settings(name, loose.parent, threads) for kind, name in names.items()}
    splits = {kind: build_splits(cfg) for kind, cfg in configs.items()}
    loaders = {kind: make_data_loader(cfg, "train", splits[kind]) for kind, cfg in configs.items()}
    dataset = splits["shards"].train
    assert isinstance(dataset, ShardImages)
    size = int(dataset.table.sizes.sum())
    files = [splits["loose"].train.path(index) for index in range(images)]
    orders = {kind: loader.plan.batches(0, 0) for kind, loader in loaders.items()}
    turns: dict[str, Callable[[], Any]] = {
        "loose": lambda: jpeg.use(batch["image"] for batch in loaders["loose"]),
        "shards": lambda: jpeg.use(batch["image"] for batch in loaders["shards"]),
        "bytes of loose files": lambda: [Path(files[row]).read_bytes() for rows, _ in orders["loose"] for row in rows.tolist()],
        "bytes of shards": lambda: [read(dataset, row) for rows, _ in orders["shards"] for row in rows.tolist()],
    }
    with contextlib.suppress(ImportError):
        turns["bytes by webdataset"] = by_webdataset(shards)
    rates = jpeg.in_turns(turns, rounds, images)
    median = jpeg.medians(rates)
    alone = rates["bytes of shards"], rates["bytes of loose files"]
    return {
        "images_per_second": median,
        "megabytes_per_second": {name: rate * size / images / 1e6 for name, rate in median.items()},
        "ratio": ratio(rates["shards"], rates["loose"]),
        "spread": spread(rates["shards"], rates["loose"]),
        "bytes": ratio(*alone),
        "bytes_spread": spread(*alone),
    }


def read(dataset: ShardImages, row: int) -> int:
    """The bytes of a sample, checked."""
    table = dataset.table
    place = int(table.offsets[row]), int(table.sizes[row]), int(table.checksums[row])
    return len(dataset.reader.read(table.shard(row), *place, "a sample"))


def by_webdataset(shards: Path) -> Callable[[], Any]:
    """All samples of all shards, undecoded."""
    import webdataset

    urls = sorted(map(str, shards.glob("train-*.tar")))
    return lambda: [len(sample["jpg"]) for sample in webdataset.WebDataset(urls, shardshuffle=False)]


if __name__ == "__main__":
    main()
