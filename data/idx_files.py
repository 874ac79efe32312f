"""The files of MNIST and its kin, read without importing torchvision, which takes as long as torch itself."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy
import torch
from torch import Tensor

from utils.errors import UserError

_BYTES = 8  # the format's code for unsigned bytes, the only kind these sets have


def find_idx(folder: Path, part: str) -> tuple[Path, Path] | None:
    """The files of images and labels of `part` ("train" or "t10k"), unpacked or as they are downloaded; None if not there."""
    found = []
    for name in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"):
        path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
        if path is None:
            return None
        found.append(path)
    return found[0], found[1]


def read_idx(path: Path) -> Tensor:
    """The uint8 tensor in an IDX file (http://yann.lecun.com/exdb/mnist), packed with gzip or not.

    Raises:
        UserError: the file cannot be read, is no such file, or is cut short.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())}); download it again") from error
    rank = content[3] if content[:3] == bytes([0, 0, _BYTES]) and len(content) > 3 else 0
    shape = [int(size) for size in numpy.frombuffer(content[: 4 + 4 * rank], ">u4", offset=4)] if rank else []
    start = 4 + 4 * rank
    if not rank or len(content) - start != int(numpy.prod(shape)):
        raise UserError(f"{path}: no IDX file of bytes, or cut short; download it again")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)
