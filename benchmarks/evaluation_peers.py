"""The same validation with torchmetrics and with Lightning, each over the plain loop in one process.

Run by `python -m benchmarks.evaluation --peers`. torchmetrics adds up top-1 accuracy batch by batch in a loop by hand;
Lightning's Trainer validates a module that does the same.

    python -m benchmarks.evaluation_peers "Lightning" 9
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.common import MEAN, STD, seconds

SAMPLES, BATCH, ROUNDS = 10_000, 256, 9


class Batches:
    """Slices of the tensors, normalised."""

    def __init__(self) -> None:
        self.images = torch.randint(0, 256, (SAMPLES, 1, 28, 28), dtype=torch.uint8)
        self.targets = torch.randint(0, 10, (SAMPLES,))

    def __len__(self) -> int:
        return -(-SAMPLES // BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, SAMPLES, BATCH):
            inputs = self.images[start : start + BATCH].float().mul_(1 / (255 * STD)).sub_(MEAN / STD)
            yield inputs, self.targets[start : start + BATCH]


@torch.no_grad()
def plain(model: nn.Module, batches: Batches) -> float:
    """The loop that counts matches."""
    matches = torch.zeros((), dtype=torch.int64)
    for inputs, targets in batches:
        matches += (model(inputs).argmax(dim=1) == targets).sum()
    return matches.item() / SAMPLES


def torchmetrics(model: nn.Module, batches: Batches) -> Callable[[], float]:
    """A metric that is updated with each batch."""
    from torchmetrics.classification import MulticlassAccuracy

    metric = MulticlassAccuracy(num_classes=10, average="micro", validate_args=False)

    @torch.no_grad()
    def act() -> float:
        metric.reset()
        for inputs, targets in batches:
            metric.update(model(inputs), targets)
        return metric.compute().item()

    return act


def lightning(model: nn.Module, batches: Batches) -> Callable[[], float]:
    """`Trainer.validate` with the same metric, logged once an epoch."""
    import logging

    import lightning as L
    from torchmetrics.classification import MulticlassAccuracy

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.metric = model, MulticlassAccuracy(num_classes=10, average="micro", validate_args=False)

        def validation_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
            self.metric.update(self.model(batch[0]), batch[1])

        def on_validation_epoch_end(self) -> None:
            self.log("top1", self.metric.compute())
            self.metric.reset()

    trainer = L.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False)
    module = Module()
    return lambda: float(trainer.validate(module, batches, verbose=False)[0]["top1"])


PEERS = {"torchmetrics per batch": torchmetrics, "Lightning": lightning}


def measure_all(rounds: int = ROUNDS) -> dict[str, Any]:
    """Each peer's ratio to the plain loop."""
    return peers.measure_each("benchmarks.evaluation_peers", list(PEERS), [str(rounds)])


def main() -> None:
    """One peer: one JSON object as the last line."""
    from modeling.models.softmax import softmax

    torch.set_num_threads(1)
    model, batches = softmax(in_channels=1, num_classes=10, image_size=(28, 28)), Batches()
    act = PEERS[sys.argv[1]](model, batches)
    assert abs(act() - plain(model, batches)) < 1e-3, "both give the same score"
    ratios = [seconds(act) / seconds(lambda: plain(model, batches)) for _ in range(int(sys.argv[2]))]
    print(json.dumps({"ratio": statistics.median(ratios), "spread": [min(ratios), max(ratios)]}))


if __name__ == "__main__":
    main()
