"""Scores of a test as large as Market-1501's, over a loop in NumPy that ranks one query after another.

    python -m benchmarks.retrieval [--json] [--rounds 5]

3,368 queries, 15,913 gallery images, 512 features, 751 identities, 6 cameras, all made; CMC, mAP and mINP. `seconds` is the
whole of ours, the product of the features included, on one thread; `more_mb` is the peak of its memory above the features,
in a process of its own (Linux). The loop, as published code has it, sorts each row and counts along it; it ranks a sample
of the queries, their part of the product included, and its time is scaled to all of them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy
import torch

from benchmarks.common import ROOT, arguments, ratio, seconds, show, spread
from engine.retrieval.distances import Distances, distances, make_unit
from engine.retrieval.images import Images
from engine.retrieval.ranking import rank, summary

QUERIES, GALLERY, FEATURES, IDENTITIES, CAMERAS, SAMPLE = 3_368, 15_913, 512, 751, 6, 100


def main() -> None:
    """Measures and prints; with the word `peak` first, is the process whose memory is measured."""
    if sys.argv[1:2] == ["peak"]:
        print(peak())
        return
    args = arguments(__doc__, rounds=5)
    (query, of_query), (gallery, of_gallery) = made(QUERIES, 0), made(GALLERY, QUERIES)
    product = between(query[:SAMPLE], gallery)

    def ours() -> dict[str, float]:
        return summary(rank(between(query, gallery), of_query, of_gallery))

    def theirs() -> dict[str, float]:
        return plain(product(slice(0, SAMPLE)).numpy(), of_query, of_gallery)

    few = rank(between(query[:SAMPLE], gallery), of_query.take(slice(0, SAMPLE)), of_gallery)
    assert all(abs(value - summary(few)[name]) < 1e-4 for name, value in theirs().items()), "to the order of ties"
    pairs = [(seconds(ours), seconds(theirs) * QUERIES / SAMPLE) for _ in range(args.rounds)]
    mine, loops = zip(*pairs, strict=True)
    words = [sys.executable, "-m", "benchmarks.retrieval", "peak"]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    result = {
        "ratio": ratio(mine, loops),
        "spread": spread(mine, loops),
        "seconds": statistics.median(mine),
        "more_mb": float(done.stdout.split()[-1]),
        "plain_seconds": statistics.median(loops),
        "rounds": args.rounds,
        "threads": torch.get_num_threads(),
    }
    show(result, args.json)


def made(count: int, first: int) -> tuple[torch.Tensor, Images]:
    """Features and facts of images that are not too easy to find."""
    generator = torch.Generator().manual_seed(first)
    target = torch.randint(0, IDENTITIES, (count,), generator=generator)
    centres = torch.randn(IDENTITIES, FEATURES, generator=torch.Generator().manual_seed(1))
    features = centres[target] + 3 * torch.randn(count, FEATURES, generator=generator)
    camera = torch.randint(0, CAMERAS, (count,), generator=generator)
    return features, Images(torch.arange(first, first + count), target, camera)


def between(query: torch.Tensor, gallery: torch.Tensor) -> Distances:
    """Cosine distances; the gallery comes first, as the evaluator lays it."""
    count, features = len(gallery), make_unit(torch.cat([gallery, query]))
    return distances(features, torch.arange(count, len(features)), torch.arange(count), "cosine")


def plain(distance: numpy.ndarray, query: Images, gallery: Images) -> dict[str, float]:
    """mAP and rank1, row by row in NumPy, as published code has it: sort, leave out, count."""
    identities, cameras = gallery.target.numpy(), gallery.camera.numpy()
    firsts, precisions = [], []
    for row, identity, camera in zip(distance, query.target.numpy(), query.camera.numpy(), strict=False):
        order = numpy.argsort(row)
        keep = ~((identities[order] == identity) & (cameras[order] == camera))
        match = (identities[order] == identity)[keep].astype(numpy.int32)
        if not match.any():
            continue
        hits = match.cumsum()
        firsts.append(min(hits[0], 1))
        precisions.append((hits / numpy.arange(1.0, len(hits) + 1) * match).sum() / match.sum())
    return {"rank1": float(numpy.mean(firsts)), "mAP": float(numpy.mean(precisions))}


def peak() -> float:
    """How far ranking raises this process's peak memory above what it has with the features, in MB."""
    (query, of_query), (gallery, of_gallery) = made(QUERIES, 0), made(GALLERY, QUERIES)
    search = between(query[:2], gallery[:50]), of_query.take(slice(0, 2)), of_gallery.take(slice(0, 50))
    rank(*search)  # what libraries take once
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak begins anew
    before = memory("VmRSS")
    rank(between(query, gallery), of_query, of_gallery)
    return memory("VmHWM") - before


def memory(name: str) -> float:
    """What the kernel says of this process, in MB."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(float(line.split()[1]) / 1024 for line in file if line.startswith(name))


if __name__ == "__main__":
    main()
