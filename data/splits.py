"""Held-out parts: a function of the targets and SPLIT_SEED, never of SEED."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any


def stratified(targets: Sequence[Any], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices (kept, held out), both increasing; the classes keep their shares where each has two samples or more.

    At least one sample is kept and, for a fraction above 0, one is held out.
    """
    from sklearn.model_selection import train_test_split  # slow to import

    count = round(len(targets) * fraction)
    if fraction <= 0 or len(targets) < 2:
        return list(range(len(targets))), []
    count = min(max(count, 1), len(targets) - 1)
    sizes = Counter(targets)
    possible = min(sizes.values()) >= 2 and len(sizes) <= min(count, len(targets) - count)
    kept, held_out = train_test_split(
        range(len(targets)), test_size=count, random_state=seed, stratify=targets if possible else None
    )
    return sorted(kept), sorted(held_out)
