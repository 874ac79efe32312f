"""What any rank asks for, known to all ranks at the same step, without a message of its own.

Each step the ranks add up their sample counts. The same tensor carries one number a question, such as "did a signal come?",
so asking costs nothing. Every rank reads the same sums after the same step, and so acts at the same step.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from data.to_device import sent
from engine import distributed
from utils import interrupts

LAG = 2  # steps after which an answer is read on a device: by then it is there, and reading it waits for nothing new


class Agreement:
    """Questions, and what the ranks answered.

    Args:
        device: where the sums are made; on a CPU an answer is known in the step that asks.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.alone = device, distributed.world_size() == 1
        self._questions: dict[str, Callable[[], bool]] = {}
        self._under_way: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()
        self._shared = False
        self._agreed: frozenset[str] = frozenset()

    def ask(self, name: str, question: Callable[[], bool]) -> None:
        """From now on each step asks every rank `question`; all ranks ask the same, in the same order."""
        self._questions[name] = question

    def says(self, name: str) -> bool:
        """After a step: whether any rank said yes. With one rank that is its answer now."""
        if self.alone:
            return self._questions[name]()
        return name in self._agreed

    def share(self, count: int) -> Tensor:
        """`count` summed over ranks, on the device; the answers travel along."""
        answers = [float(question()) for question in self._questions.values()]
        sums = distributed.all_reduce_sum(sent(torch.tensor([float(count), *answers]), self.device))
        self._shared = True
        self._under_way.append(self._on_its_way(sums))
        return sums[0]

    def end_step(self) -> None:
        """Reads the answers that are due, after a step; a step of another kind that shared nothing is caught up on."""
        if self.alone:
            return
        if not self._shared:
            self.share(0)
        self._shared = False
        agreed: set[str] = set()
        while len(self._under_way) > (LAG if self.device.type == "cuda" else 0):
            sums, event = self._under_way.popleft()
            if event is not None:
                event.synchronize()
            agreed |= {name for name, votes in zip(self._questions, sums[1:].tolist(), strict=True) if votes > 0}
        self._agreed = frozenset(agreed)

    def _on_its_way(self, sums: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        """The sums for the host to read, and what says when they are there."""
        if self.device.type != "cuda":
            return sums, None
        host = torch.empty(sums.shape, dtype=sums.dtype, pin_memory=True)
        host.copy_(sums, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        return host, event


def agreed_signal() -> int:
    """The signal that came to any rank, or 0: the same on every rank. A person's Ctrl-C goes before all else.

    Asks all ranks, which costs a message: for the ends of epochs and evaluations, and when it is known that one came.
    """
    numbers = distributed.gather(interrupts.received())
    return int(signal.SIGINT if signal.SIGINT in numbers else max(numbers))
