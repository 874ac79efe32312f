"""configs/train_cifar10_fast.yml as one writes it by hand: torchvision's transforms in a DataLoader's workers, pinned memory.

The network is the same, and so are bf16, channels_last, torch.compile, the fused optimizer, rates, smoothing and the mirrored
view in the test. Not tuned further.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from modeling.models.resnet9 import ResNet9

EPOCHS, BATCH, MAX_LR, RISE, WEIGHT_DECAY, SMOOTHING = 24, 512, 0.4, 5 / 24, 5e-4, 0.2
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
WORKERS = min(os.cpu_count() or 1, 16)


def read(folder: Path) -> tuple[Dataset[Any], Dataset[Any]]:
    """Training and test images, transformed sample by sample."""
    from torchvision import transforms
    from torchvision.datasets import CIFAR10

    plain = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    moved = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *plain])
    return CIFAR10(folder, train=True, transform=moved, download=True), CIFAR10(
        folder, train=False, transform=transforms.Compose(plain), download=True
    )


def train(
    train_set: Dataset[Any], test_set: Dataset[Any], seed: int, device: torch.device, *, batch: int = BATCH,
    workers: int = WORKERS, compiled: bool = True,
) -> Iterator[tuple[float, float, float]]:  # fmt: skip
    """After each epoch: seconds of the first step, seconds of training since then without tests, accuracy (0 to 1)."""
    torch.manual_seed(seed)
    given: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": device.type == "cuda"}
    loader = DataLoader(train_set, batch, shuffle=True, drop_last=True, **given)
    test_loader = DataLoader(test_set, 1000, **given)
    model = ResNet9(3, 10).to(device).to(memory_format=torch.channels_last)
    ready = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(
        model.parameters(), lr=MAX_LR, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY, fused=True
    )
    steps = EPOCHS * len(loader)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(step / (RISE * steps), (steps - step) / ((1 - RISE) * steps))
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    first = spent = 0.0
    for _ in range(EPOCHS):
        start = time.perf_counter()
        model.train()
        for images, targets in loader:
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16):
                loss = criterion(ready(images), targets.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            if not first:
                first, start = _since(start, device), time.perf_counter()
        spent += _since(start, device)
        yield first, spent, accuracy(model, test_loader, device)


def _since(start: float, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]], device: torch.device) -> float:
    """The share that is right by the mean of an image and its mirror image, 0 to 1."""
    model.eval()
    right = torch.zeros((), device=device)
    for images, targets in loader:
        images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            both = torch.stack([model(images), model(images.flip(-1))])
        shares = functional.softmax(both.float(), dim=2).mean(dim=0)
        right += (shares.argmax(dim=1) == targets.to(device, non_blocking=True)).sum()
    return right.item() / len(loader.dataset)  # type: ignore[arg-type, operator]
