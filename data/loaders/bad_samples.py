"""Which samples of a split were left out, over a whole run: said once each, counted, and too many of them end it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from data.dataset import Dataset
from utils.errors import RunFailed

LOG = logging.getLogger("fieldbook.data")
Complaint = tuple[int, str]  # the sample's index, and what is wrong with it


class BadSamples:
    """The samples of `dataset` that were left out so far. It is state: a resumed run goes on counting.

    Args:
        max_share: 0 to 1; a greater share of the data set ends the run.
    """

    def __init__(self, dataset: Dataset, max_share: float) -> None:
        self.dataset, self.max_share = dataset, max_share
        self.indices: set[int] = set()

    def __len__(self) -> int:
        return len(self.indices)

    def add(self, complaints: Iterable[Complaint]) -> None:
        """Warns of those that are new.

        Raises:
            RunFailed: there are now more than `max_share` allows.
        """
        new = {index: text for index, text in complaints if index not in self.indices}
        for text in new.values():
            LOG.warning("left out: %s", text)
        self.join(new)

    def join(self, indices: Iterable[int]) -> None:
        """Counts what another rank has found, too.

        Raises:
            RunFailed: as `add`.
        """
        before = len(self)
        self.indices.update(indices)
        if len(self) > before and len(self) > self.max_share * len(self.dataset):
            first = ", ".join(self.dataset.path(index) for index in sorted(self.indices)[:5])
            raise RunFailed(
                f"{len(self)} of {len(self.dataset)} samples of {self.dataset.name} are bad "
                f"({100 * len(self) / len(self.dataset):.2g} %; DATALOADER.MAX_BAD allows {100 * self.max_share:.2g} %): "
                f"{first}{', ...' if len(self) > 5 else ''}; mend or remove them, or raise DATALOADER.MAX_BAD"
            )

    def state_dict(self) -> dict[str, Any]:
        """The indices, increasing: paths may differ where the data was moved."""
        return {"indices": sorted(self.indices)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()`."""
        self.indices = set(state["indices"])
