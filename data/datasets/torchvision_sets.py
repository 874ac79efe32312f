"""MNIST, Fashion-MNIST, CIFAR and SVHN as torchvision reads them; downloaded into DATASETS.ROOT on first use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from data.dataset import ArrayDataset, Dataset
from data.datasets import DATASETS
from data.idx_files import find_idx, read_idx
from utils.errors import UserError

# name: (torchvision's class, mean, std, what lies where under DATASETS.ROOT)
_SETS: dict[str, tuple[str, list[float], list[float], str]] = {
    "mnist": ("MNIST", [0.1307], [0.3081], "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte (four files)"),
    "fashion_mnist": (
        "FashionMNIST", [0.2860], [0.3530],
        "FashionMNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte (four files)",
    ),
    "cifar10": ("CIFAR10", [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616], "cifar-10-python.tar.gz"),
    "cifar100": ("CIFAR100", [0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762], "cifar-100-python.tar.gz"),
    "svhn": ("SVHN", [0.4377, 0.4438, 0.4728], [0.1980, 0.2010, 0.1970], "train_32x32.mat and test_32x32.mat"),
}
# torchvision's names of the classes of the sets whose files are read without it
_CLASSES = {
    "mnist": [
        "0 - zero", "1 - one", "2 - two", "3 - three", "4 - four", "5 - five", "6 - six", "7 - seven", "8 - eight", "9 - nine",
    ],
    "fashion_mnist": [
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ],
}  # fmt: skip


def _load(name: str, root: str, train: bool) -> Dataset:
    kind, mean, std, _ = _SETS[name]
    files = find_idx(Path(root, kind, "raw"), "train" if train else "t10k") if name in _CLASSES else None
    if files is None:
        return _by_torchvision(name, root, train)
    images, labels = (read_idx(path) for path in files)
    return ArrayDataset(name, images[:, None], labels.long(), _CLASSES[name], mean, std)


def _by_torchvision(name: str, root: str, train: bool) -> Dataset:
    import torchvision  # slow to import

    kind, mean, std, files = _SETS[name]
    part: dict[str, Any] = {"split": "train" if train else "test"} if name == "svhn" else {"train": train}
    try:
        raw: Any = getattr(torchvision.datasets, kind)(root, **part, download=True)
    except Exception as error:  # torchvision raises many kinds: URLError, RuntimeError, OSError, EOFError
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{name}: not found below {root!r} and it could not be downloaded ({reason}); put {files} there, or give "
            "another folder with DATASETS.ROOT"
        ) from error
    pixels = torch.as_tensor(raw.data)
    if name == "svhn":  # already N x C x H x W, and with attributes of other names
        return ArrayDataset(name, pixels, torch.as_tensor(raw.labels).long(), [str(n) for n in range(10)], mean, std)
    images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return ArrayDataset(name, images, torch.as_tensor(raw.targets).long(), raw.classes, mean, std)


@DATASETS.register("mnist")
def mnist(root: str, train: bool, seed: int) -> Dataset:
    """60,000 + 10,000 grey digits of 28 x 28 pixels (LeCun et al., 1998)."""
    return _load("mnist", root, train)


@DATASETS.register("fashion_mnist")
def fashion_mnist(root: str, train: bool, seed: int) -> Dataset:
    """60,000 + 10,000 grey pictures of clothes, 28 x 28 pixels (Xiao et al., 2017)."""
    return _load("fashion_mnist", root, train)


@DATASETS.register("cifar10")
def cifar10(root: str, train: bool, seed: int) -> Dataset:
    """50,000 + 10,000 colour pictures of 32 x 32 pixels in ten classes (Krizhevsky, 2009)."""
    return _load("cifar10", root, train)


@DATASETS.register("cifar100")
def cifar100(root: str, train: bool, seed: int) -> Dataset:
    """The same in a hundred classes (Krizhevsky, 2009)."""
    return _load("cifar100", root, train)


@DATASETS.register("svhn")
def svhn(root: str, train: bool, seed: int) -> Dataset:
    """73,257 + 26,032 house numbers, colour, 32 x 32 pixels, the digit in the middle counts (Netzer et al., 2011)."""
    return _load("svhn", root, train)
