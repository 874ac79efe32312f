"""The bad samples of the training split as a part of the checkpoint, over all ranks."""

from __future__ import annotations

from typing import Any

from data.loaders.bad_samples import BadSamples
from engine import distributed


class LeftOut:
    """What all ranks have left out. Each of them counts what it reads, and learns of the others when there is a save."""

    def __init__(self, bad: BadSamples) -> None:
        self.bad = bad

    def state_dict(self) -> dict[str, Any]:
        """Of all ranks together, so all ranks must ask.

        Raises:
            RunFailed: together they are more than DATALOADER.MAX_BAD allows.
        """
        for other in distributed.gather(self.bad.state_dict()):
            self.bad.join(other["indices"])
        return self.bad.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores `state_dict()` on this rank."""
        self.bad.load_state_dict(state)
