"""The loops of other libraries on benchmarks.overhead's models, each over the plain loop in one process.

Run by `python -m benchmarks.overhead --peers`. Each is configured as its documentation recommends for speed, and is handed
the plain loop's batches, so that only its loop differs: no DataLoader, no bar, no checkpoints; a loss is read every 50
steps. Epochs of the library and of the plain loop take turns.

    python -m benchmarks.overhead_peers "ignite" 5
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import peers
from benchmarks.common import LOG_PERIOD, MEAN, STD
from benchmarks.overhead import plain_batches, plain_loop

SAMPLES, ROUNDS = 15_000, 5
CASES = [(model, batch) for model in ("softmax", "mlp") for batch in (64, 256)]


class Batches:
    """What every loop iterates over once an epoch."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.images = torch.randint(0, 256, (SAMPLES, 1, 28, 28), dtype=torch.uint8)
        self.targets = torch.randint(0, 10, (SAMPLES,))

    def __len__(self) -> int:
        return -(-SAMPLES // self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return plain_batches(self.images, self.targets, self.batch)


class Turns:
    """Before each epoch of a peer the plain loop has its turn."""

    def __init__(self, model: nn.Module, batches: Batches) -> None:
        self.model, self.batches = copy.deepcopy(model), batches
        self.optimizer = make_sgd(self.model)
        self.theirs: list[float] = []
        self.plain: list[float] = []

    def begin(self) -> None:
        """The plain loop's epoch; then the peer's clock starts."""
        start = time.perf_counter()
        plain_loop(self.model, self.optimizer, iter(self.batches))
        self._start = time.perf_counter()
        self.plain.append(self._start - start)

    def end(self) -> None:
        """The peer's epoch is over."""
        self.theirs.append(time.perf_counter() - self._start)


def make_sgd(model: nn.Module) -> torch.optim.Optimizer:
    """As the plain loop has it."""
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)


def loss_of(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """The plain loop's arithmetic."""
    return functional.cross_entropy(model(images.float().mul_(1 / (255 * STD)).sub_(MEAN / STD)), targets)


def ignite(model: nn.Module, batches: Batches, turns: Turns, epochs: int) -> None:
    """An Engine over a step function, and one handler."""
    from ignite.engine import Engine, Events

    optimizer, losses = make_sgd(model), []

    def step(engine: Engine, batch: tuple[Tensor, Tensor]) -> Tensor:
        model.train()
        optimizer.zero_grad()
        loss = loss_of(model, *batch)
        loss.backward()
        optimizer.step()
        return loss.detach()

    engine = Engine(step)
    engine.add_event_handler(Events.EPOCH_STARTED, turns.begin)
    engine.add_event_handler(Events.EPOCH_COMPLETED, turns.end)
    engine.add_event_handler(Events.ITERATION_COMPLETED(every=LOG_PERIOD), lambda e: losses.append(e.state.output.item()))
    engine.run(batches, max_epochs=epochs, epoch_length=len(batches))


def accelerate(model: nn.Module, batches: Batches, turns: Turns, epochs: int) -> None:
    """A loop of one's own with a prepared model and optimizer."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(model, make_sgd(model))

    def step(images: Tensor, targets: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, images, targets)
        accelerator.backward(loss)
        optimizer.step()
        return loss

    own_loop(step, batches, turns, epochs)


def fabric(model: nn.Module, batches: Batches, turns: Turns, epochs: int) -> None:
    """The same with Fabric."""
    from lightning.fabric import Fabric

    own = Fabric(accelerator="cpu", devices=1)
    model, optimizer = own.setup(model, make_sgd(model))

    def step(images: Tensor, targets: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, images, targets)
        own.backward(loss)
        optimizer.step()
        return loss

    own_loop(step, batches, turns, epochs)


def timm_style(model: nn.Module, batches: Batches, turns: Turns, epochs: int) -> None:
    """timm's training script in short: its optimizer factory, schedule and meters."""
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from timm.utils import AverageMeter

    optimizer = create_optimizer_v2(model, "sgd", lr=0.01, momentum=0.9, weight_decay=5e-4)
    schedule = CosineLRScheduler(optimizer, t_initial=epochs * len(batches), t_in_epochs=False)
    meter, count = AverageMeter(), [0]

    def step(images: Tensor, targets: Tensor) -> Tensor:
        loss = loss_of(model, images, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        count[0] += 1
        if count[0] % LOG_PERIOD == 0:
            meter.update(loss.item(), len(images))
        schedule.step_update(num_updates=count[0], metric=meter.avg)
        return loss

    own_loop(step, batches, turns, epochs, read=False)


def own_loop(
    step: Callable[[Tensor, Tensor], Tensor], batches: Batches, turns: Turns, epochs: int, *, read: bool = True
) -> None:
    """For libraries that leave the loop to their user."""
    for _ in range(epochs):
        turns.begin()
        for number, (images, targets) in enumerate(batches, 1):
            loss = step(images, targets)
            if read and number % LOG_PERIOD == 0:
                loss.item()
        turns.end()


def lightning(model: nn.Module, batches: Batches, turns: Turns, epochs: int, *, barebones: bool = False) -> None:
    """A LightningModule in a Trainer: without any extra, or with a CSV logger and `self.log`."""
    import logging
    import tempfile

    import lightning as L
    from lightning.pytorch.loggers import CSVLogger

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            loss = loss_of(self.model, *batch)
            if not barebones:
                self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return make_sgd(self.model)

        def on_train_epoch_start(self) -> None:
            turns.begin()

        def on_train_epoch_end(self) -> None:
            turns.end()

    with tempfile.TemporaryDirectory() as folder:
        extras: dict[str, Any] = {"barebones": True} if barebones else {
            "logger": CSVLogger(folder), "log_every_n_steps": LOG_PERIOD, "enable_progress_bar": False,
            "enable_checkpointing": False, "enable_model_summary": False,
        }  # fmt: skip
        L.Trainer(max_epochs=epochs, accelerator="cpu", devices=1, **extras).fit(Module(), batches)


PEERS: dict[str, Callable[[nn.Module, Batches, Turns, int], None]] = {
    "ignite": ignite,
    "timm style": timm_style,
    "Lightning Fabric": fabric,
    "accelerate": accelerate,
    "Lightning barebones": lambda *words: lightning(*words, barebones=True),
    "Lightning": lightning,
}


def measure_all(rounds: int = ROUNDS) -> dict[str, Any]:
    """Each peer's worst ratio over the cases, and the single ones."""
    return peers.measure_each("benchmarks.overhead_peers", list(PEERS), [str(rounds)])


def main() -> None:
    """One peer, all cases: one JSON object as the last line."""
    name, rounds = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    cases = [measure(name, model, batch, rounds) for model, batch in CASES]
    worst = max(cases, key=lambda case: case["ratio"])
    print(json.dumps({"ratio": worst["ratio"], "spread": worst["spread"], "cases": cases}))


def measure(name: str, model: str, batch: int, rounds: int) -> dict[str, Any]:
    """One case; the first epoch warms up."""
    from modeling.models.mlp import mlp
    from modeling.models.softmax import softmax

    made = {"mlp": mlp, "softmax": softmax}[model](in_channels=1, num_classes=10, image_size=(28, 28))
    batches = Batches(batch)
    turns = Turns(made, batches)
    PEERS[name](made, batches, turns, rounds + 1)
    ratios = [a / b for a, b in zip(turns.theirs[1:], turns.plain[1:], strict=True)]
    spread = [min(ratios), max(ratios)]
    return {"model": model, "batch": batch, "ratio": statistics.median(ratios), "spread": spread}


if __name__ == "__main__":
    main()
