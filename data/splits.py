"""Held-out parts: a function of the targets and SPLIT_SEED, never of SEED."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy


def stratified(targets: Sequence[Any], fraction: float, seed: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Indices (kept, held out), both increasing; the classes keep their shares where each has two samples or more.

    Where a sample has any number of classes (tuples), each class keeps its share: see `stratified_labels`. At least one
    sample is kept and, for a fraction above 0, one is held out.
    """
    count = round(len(targets) * fraction)
    left = numpy.ones(len(targets), dtype=bool)
    if fraction > 0 and len(targets) >= 2:
        left[_held_out(targets, min(max(count, 1), len(targets) - 1), seed)] = False
    return numpy.flatnonzero(left), numpy.flatnonzero(~left)


def _held_out(targets: Sequence[Any], count: int, seed: int) -> Sequence[int] | numpy.ndarray:
    if isinstance(targets[0], tuple):
        return stratified_labels(targets, count, seed)[1]
    sizes = Counter(targets)
    possible = min(sizes.values()) >= 2 and len(sizes) <= min(count, len(targets) - count)
    rng = numpy.random.RandomState(seed)
    return _of_each_class(targets, count, rng) if possible else rng.permutation(len(targets))[:count]


def fold(targets: Sequence[Any], folds: int, number: int, seed: int) -> tuple[list[int], list[int]]:
    """Indices (kept, held out), both increasing, of part `number` of `folds`: each sample is held out in one of them.

    The classes keep their shares; values (a regression) are drawn; of samples with any number of classes each part is held
    out of what earlier parts left, see `stratified_labels`.

    Raises:
        ValueError: fewer samples than parts, or than that of every class.
    """
    if isinstance(targets[0], tuple):
        return _fold_of_labels(targets, folds, number, seed)
    from sklearn.model_selection import KFold, StratifiedKFold  # slow to import

    kind = KFold if isinstance(targets[0], float) else StratifiedKFold
    parts = kind(folds, shuffle=True, random_state=seed).split(numpy.zeros(len(targets)), numpy.asarray(targets))
    kept, held = list(parts)[number]
    return kept.tolist(), held.tolist()


def _fold_of_labels(targets: Sequence[Any], folds: int, number: int, seed: int) -> tuple[list[int], list[int]]:
    if len(targets) < folds:
        raise ValueError(f"{len(targets)} samples")
    left = list(range(len(targets)))
    for part in range(number + 1):
        count = len(left) // (folds - part)
        rest, held = stratified_labels([targets[row] for row in left], count, seed) if part < folds - 1 else ([], left)
        held = [left[row] for row in held] if part < folds - 1 else held
        left = [left[row] for row in rest]
    chosen = set(held)
    return [row for row in range(len(targets)) if row not in chosen], held


def _of_each_class(targets: Sequence[Any], count: int, rng: numpy.random.RandomState) -> numpy.ndarray:
    """The same `count` indices as scikit-learn's train_test_split(stratify=targets), whose import would cost more than
    that of the rest of this project."""
    _, classes, sizes = numpy.unique(numpy.asarray(targets), return_inverse=True, return_counts=True)
    rows = numpy.split(numpy.argsort(classes, kind="stable"), numpy.cumsum(sizes)[:-1])
    kept = _shares(sizes, len(targets) - count, rng)
    held = _shares(sizes - kept, count, rng)
    chosen = []
    for own, first, more in zip(rows, kept, held, strict=True):
        chosen.append(own[rng.permutation(len(own))][first : first + more])
    return numpy.concatenate(chosen)


def _shares(sizes: numpy.ndarray, count: int, rng: numpy.random.RandomState) -> numpy.ndarray:
    """`count` shared out in proportion to `sizes`: rounded down, then one more for the greatest remainders."""
    exact = sizes / sizes.sum() * count
    shares = numpy.floor(exact)
    remainders, missing = exact - shares, int(count - shares.sum())
    for remainder in numpy.unique(remainders)[::-1]:
        if missing > 0:
            equal = numpy.flatnonzero(remainders == remainder)
            equal = rng.choice(equal, size=min(len(equal), missing), replace=False)  # draws among equals
            shares[equal] += 1
            missing -= len(equal)
    return shares.astype(int)


def stratified_labels(targets: Sequence[tuple[int, ...]], count: int, seed: int) -> tuple[list[int], list[int]]:
    """Indices (kept, held out), for samples with any number of classes: `count` are held out.

    The rarest class is shared out first, because it leaves the least choice (Sechidis et al., On the stratification of
    multi-label data, ECML 2011): of each class in turn, so many of its samples not yet placed are drawn that it has its
    share, rounded. Samples without a class fill up the rest. A class with fewer than half a sample as its share has
    none.
    """
    order = numpy.random.Generator(numpy.random.Philox(key=[seed, 0])).permutation(len(targets)).tolist()
    members: dict[int, list[int]] = {}
    for row in order:
        for label in targets[row]:
            members.setdefault(label, []).append(row)
    wanted = {label: round(len(rows) * count / len(targets)) for label, rows in members.items()}
    left = {label: len(rows) for label, rows in members.items()}  # samples not yet placed
    held: set[int] = set()
    kept: set[int] = set()
    while left:
        rarest = min(left, key=lambda label: (left[label], label))
        del left[rarest]
        rows = [row for row in members[rarest] if row not in held and row not in kept]
        most = max(min(wanted[rarest], count - len(held)), 0)
        held.update(rows[:most])
        kept.update(rows[most:])
        for number, row in enumerate(rows):
            for label in targets[row]:
                wanted[label] -= number < most
                if label in left:
                    left[label] -= 1
    spare = sorted((row for row in order if row not in held), key=lambda row: row in kept)  # those without a class first
    held.update(spare[: count - len(held)])
    return [row for row in range(len(targets)) if row not in held], sorted(held)
