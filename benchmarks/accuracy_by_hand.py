"""A small residual network on MNIST as one writes it by hand: the recipe that benchmarks.accuracy measures against.

Written before the template's recipe and not tuned since: the network of modeling/models/example_model.py at half its
width, shifts of up to 2 pixels, SGD with Nesterov momentum under OneCycleLR, a test after each epoch. The images lie
decoded in memory, so that the DataLoader is not what it waits for.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from modeling.models.example_model import ExampleModel

EPOCHS, BATCH, MAX_LR, WEIGHT_DECAY, PADDING = 5, 128, 0.1, 5e-4, 2
MEAN, STD = 0.1307, 0.3081


class Shifted(Dataset[tuple[Tensor, Tensor]]):
    """N x 28 x 28 uint8 images, normalised; with `padding` each is shifted by up to so many pixels."""

    def __init__(self, images: Tensor, targets: Tensor, padding: int = 0) -> None:
        normalised = images[:, None].float().div_(255).sub_(MEAN).div_(STD)
        self.images = functional.pad(normalised, (padding,) * 4, value=-MEAN / STD)
        self.targets, self.padding = targets, padding

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        top, left = torch.randint(2 * self.padding + 1, (2,)).tolist()
        return self.images[index, :, top : top + 28, left : left + 28], self.targets[index]


def train(train_set: tuple[Tensor, Tensor], test_set: tuple[Tensor, Tensor], seed: int) -> Iterator[tuple[float, float]]:
    """After each epoch: seconds of training so far, tests not counted, and the accuracy on the test set, 0 to 1."""
    torch.manual_seed(seed)
    loader = DataLoader(Shifted(*train_set, PADDING), BATCH, shuffle=True, drop_last=True)
    test_loader = DataLoader(Shifted(*test_set), 500)
    model = ExampleModel(1, 10, width=16)
    optimizer = torch.optim.SGD(model.parameters(), lr=MAX_LR, momentum=0.9, nesterov=True, weight_decay=WEIGHT_DECAY)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, MAX_LR, epochs=EPOCHS, steps_per_epoch=len(loader))
    criterion = nn.CrossEntropyLoss()
    spent = 0.0
    for _ in range(EPOCHS):
        start = time.perf_counter()
        model.train()
        for images, targets in loader:
            optimizer.zero_grad()
            criterion(model(images), targets).backward()
            optimizer.step()
            scheduler.step()
        spent += time.perf_counter() - start
        yield spent, accuracy(model, test_loader)


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]]) -> float:
    """The share that is right, 0 to 1."""
    model.eval()
    right = sum(int((model(images).argmax(dim=1) == targets).sum()) for images, targets in loader)
    return right / len(loader.dataset)  # type: ignore[arg-type]
