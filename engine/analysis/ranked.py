"""A picture of some queries, and of what was found for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.dataset import Dataset
from data.randomness import ORDER, generator
from engine.evaluators.retrieval import RetrievalEvaluator
from engine.figures.pictures import GREEN, GREY, INK, ORANGE, frame, literal, new_canvas, place, save, short, small
from engine.retrieval.nearest import ranked

SHOWN, NEAREST = 8, 8  # queries, the worst half and some drawn; gallery images of each
PAGE = 8  # queries of one picture
# lengths, where the width of an image is 1: between images, for the words below them, for a heading, of the first column
GAP, LINE, HEADING, FIRST = 0.14, 0.34, 0.36, 1.35
HEADINGS = {"worst": "Queries with the least average precision", "drawn": "Some other queries, drawn"}
RIGHT, WRONG = (GREEN, "\u2713"), (ORANGE, "\u2717")


class Query(NamedTuple):
    """One row of the picture.

    Attributes:
        kind: why it is shown; see `HEADINGS`.
        sample: its number.
        precision, first: its average precision and the place of its first match.
        found: numbers of the nearest gallery images, nearest first.
    """

    kind: str
    sample: int
    precision: float
    first: int
    found: list[int]


def choose_queries(evaluator: RetrievalEvaluator, count: int = SHOWN, nearest: int = NEAREST) -> list[Query]:
    """After `compute`: of `count` queries that have a match, half those with the least average precision, half drawn, worst
    first; each with its `nearest` gallery images."""
    scored = [
        (precision, number, row)
        for number, ranking in enumerate(evaluator.rankings)
        for row, (precision, first) in enumerate(zip(ranking.precision.tolist(), ranking.first.tolist(), strict=True))
        if first
    ]
    scored.sort()
    worst = -(-count // 2)
    rest = generator(0, ORDER, 0).permutation(max(len(scored) - worst, 0))[: count - worst] + worst
    chosen = [("worst", at) for at in range(min(worst, len(scored)))] + [("drawn", at) for at in sorted(rest.tolist())]
    rows = []
    for number, search in enumerate(evaluator.searches()):
        own = {scored[at][2]: (at, kind) for kind, at in chosen if scored[at][1] == number}
        parts = search.distances, search.query, search.gallery
        for row, columns in zip(sorted(own), ranked(*parts, sorted(own), nearest), strict=True):
            at, kind = own[row]
            found = search.gallery.place[columns].tolist()
            first = int(evaluator.rankings[number].first[row])
            rows.append((at, Query(kind, int(search.query.place[row]), scored[at][0], first, found)))
    return [query for _, query in sorted(rows)]


def draw_pages(queries: Sequence[Query], dataset: Dataset, title: str, path: Path) -> list[Path]:
    """Pictures of `PAGE` queries each: path, or numbered ones beside it, of which as many as it takes."""
    pages = [queries[at : at + PAGE] for at in range(0, len(queries), PAGE)]
    paths = [path] if len(pages) == 1 else [path.with_stem(f"{path.stem}_{number:03}") for number in range(1, len(pages) + 1)]
    for page, to in zip(pages, paths, strict=False):
        draw_ranked(page, dataset, title, to)
    return paths[: len(pages)]


def draw_ranked(queries: Sequence[Query], dataset: Dataset, title: str, path: Path) -> None:
    """Each query with its nearest gallery images, the right ones framed and ticked, the wrong ones framed and crossed.

    Args:
        title: one line above all.
    """
    images = {index: small(dataset[index]["image"]) for query in queries for index in (query.sample, *query.found)}
    shapes = sorted(image.shape[0] / image.shape[1] for image in images.values())
    tall = min(max(shapes[len(shapes) // 2], 0.5), 2.5)
    nearest = max(max(len(query.found) for query in queries), NEAREST)
    width, height = FIRST + (1 + GAP) * nearest, (tall + LINE + GAP) * len(queries) + HEADING * len({q.kind for q in queries})
    figure, axes = new_canvas(width + 0.3, height + 0.6)
    axes.set(xlim=(-0.15, width + 0.15), ylim=(height + 0.1, -0.5))
    axes.text(0, -0.2, literal(title), fontsize=13, color=INK, fontweight="bold")
    top, kind = 0.0, ""
    for query in queries:
        if query.kind != kind:
            top, kind = top + HEADING, query.kind
            axes.text(0, top - 0.14, HEADINGS[kind], fontsize=9, color=INK)
            axes.plot((0, width - GAP), (top - 0.07, top - 0.07), color="#e6e6e6", linewidth=0.8)
        _frame(axes, place(axes, images[query.sample], 0, top, 1, tall), INK, "")
        below = f"AP {query.precision:.2f}, first at {query.first}"
        _caption(axes, 0, top + tall, dataset.classes[dataset.targets[query.sample]], below)
        for number, index in enumerate(query.found):
            left = FIRST + (1 + GAP) * number
            right = dataset.targets[index] == dataset.targets[query.sample]
            _frame(axes, place(axes, images[index], left, top, 1, tall), *(RIGHT if right else WRONG))
            _caption(axes, left, top + tall, dataset.classes[dataset.targets[index]], Path(dataset.path(index)).stem)
        top += tall + LINE + GAP
    save(figure, path)


def _frame(axes: Any, box: tuple[float, float, float, float], colour: str, mark: str) -> None:
    frame(axes, box, colour, 3 if mark else 1.2)
    if mark:
        left, top, width, _ = box
        circle = {"boxstyle": "circle,pad=0.18", "facecolor": colour, "edgecolor": "white", "linewidth": 1}
        axes.text(left + width, top, mark, color="white", fontsize=9, ha="center", va="center", bbox=circle, zorder=5)


def _caption(axes: Any, left: float, top: float, name: str, below: str) -> None:
    axes.text(left, top + 0.06, short(name, 19), fontsize=7, color=INK, va="top")
    axes.text(left, top + 0.2, short(below, 24), fontsize=5.5, color=GREY, va="top")
