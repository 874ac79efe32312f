"""The MNIST recipe of benchmarks.whole_job by hand (also in channels_last), in timm's style, and with Lightning.

python -m benchmarks.whole_job_by_hand "by hand" FOLDER EPOCHS BATCH STEPS WORKERS        STEPS 0: all of them
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms

from modeling.models.lenet import lenet

RATE, DECAY, TEST_BATCH = 0.05, 5e-4, 256


def make_loaders(folder: str, batch: int, workers: int) -> tuple[DataLoader[Any], DataLoader[Any], DataLoader[Any]]:
    """54,000 images to learn from, 6,000 for validation, 10,000 to test on."""
    usual = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    parts = random_split(datasets.MNIST(folder, train=True, transform=usual), [54_000, 6_000])
    test = datasets.MNIST(folder, train=False, transform=usual)
    train = DataLoader(parts[0], batch_size=batch, shuffle=True, num_workers=workers)
    val, last = (DataLoader(part, batch_size=TEST_BATCH, num_workers=workers) for part in (parts[1], test))
    return train, val, last


def make_model() -> nn.Module:
    """The same net."""
    return lenet(in_channels=1, num_classes=10, image_size=(28, 28))


def make_sgd(model: nn.Module) -> torch.optim.Optimizer:
    """With Nesterov's momentum."""
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=DECAY, nesterov=True)


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[Any], steps: int) -> float:
    """The share that is right; of `steps` batches only where that is not 0."""
    model.eval()
    right = seen = 0
    for images, targets in islice(loader, steps or None):
        right += int((model(images).argmax(1) == targets).sum())
        seen += len(targets)
    model.train()
    return right / seen


def by_hand(
    folder: str, epochs: int, batch: int, steps: int, workers: int, memory: torch.memory_format = torch.contiguous_format
) -> float:
    """The loop that everybody writes first; the test accuracy."""
    train, val, test = make_loaders(folder, batch, workers)
    model = make_model().to(memory_format=memory)
    optimizer = make_sgd(model)
    total = steps or epochs * len(train)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=total + 1)
    for epoch in range(1 if steps else epochs):
        for number, (images, targets) in enumerate(islice(train, steps or None), 1):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images.to(memory_format=memory)), targets)
            loss.backward()
            optimizer.step()
            schedule.step()
            if number % 50 == 0:
                print(f"epoch {epoch} step {number} loss {loss.item():.4f}")
        print(f"epoch {epoch} val {accuracy(model, val, steps):.4f}")
    return accuracy(model, test, steps)


def timm_style(folder: str, epochs: int, batch: int, steps: int, workers: int) -> float:
    """timm's optimizer factory, schedule and meters around the same loaders."""
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from timm.utils import AverageMeter

    train, val, test = make_loaders(folder, batch, workers)
    model = make_model()
    optimizer = create_optimizer_v2(model, "nesterov", lr=RATE, momentum=0.9, weight_decay=DECAY)
    total = steps or epochs * len(train)
    warm = int(0.3 * total)
    schedule = CosineLRScheduler(optimizer, t_initial=total, warmup_t=warm, warmup_lr_init=RATE / 25, t_in_epochs=False)
    meter, done = AverageMeter(), 0
    for epoch in range(1 if steps else epochs):
        for images, targets in islice(train, steps or None):
            loss = functional.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            done += 1
            schedule.step_update(num_updates=done)
            if done % 50 == 0:
                meter.update(loss.item(), len(images))
                print(f"epoch {epoch} step {done} loss {meter.avg:.4f}")
        print(f"epoch {epoch} val {accuracy(model, val, steps):.4f}")
    return accuracy(model, test, steps)


def lightning(folder: str, epochs: int, batch: int, steps: int, workers: int) -> float:
    """A LightningModule; no bar, no logger, no checkpoints: as quick as a Trainer is meant to be with validation on."""
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = make_model()

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            return functional.cross_entropy(self.model(batch[0]), batch[1])

        def validation_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
            self.log("val", (self.model(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Any:
            optimizer = make_sgd(self)
            total = int(self.trainer.estimated_stepping_batches)
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=total + 1)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    train, val, test = make_loaders(folder, batch, workers)
    module = Module()
    trainer = L.Trainer(
        max_epochs=epochs, max_steps=steps or -1, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=steps or 1.0,
    )  # fmt: skip
    trainer.fit(module, train, val)
    return accuracy(module.model, test, steps)


def main() -> None:
    """Trains and says the test accuracy."""
    kind, folder, *numbers = sys.argv[1:]
    in_channels_last = partial(by_hand, memory=torch.channels_last)
    acts = {"by hand": by_hand, "by hand, channels_last": in_channels_last, "timm style": timm_style, "Lightning": lightning}
    act = acts[kind]
    print(f"test/top1 {act(folder, *map(int, numbers)):.4f}")


if __name__ == "__main__":
    main()
