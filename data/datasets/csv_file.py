"""`csv:PATH`: a table with the columns path,target (images), or numeric columns of which the last is the target."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from data.dataset import ArrayDataset, Dataset
from data.datasets import DATASETS
from data.datasets.image_folder import ImageFiles
from utils.errors import UserError


@DATASETS.register("csv")
def csv_file(place: str, root: str, train: bool, seed: int) -> Dataset | None:
    """The file is the training part; name another one in DATASETS.TEST.

    Image paths are relative to the CSV's folder. Numeric tables become samples of shape columns x 1 x 1 (float32) with
    a float target: regression.

    Raises:
        UserError: no such file, no rows, or a value that is no number, with its line.
    """
    if not train:
        return None
    file = Path(place)
    if not file.is_file():
        raise UserError(f"csv:{place}: no such file; write csv:PATH")
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    if len(rows) < 2:
        raise UserError(f"csv:{place}: needs a line of column names and at least one row")
    header, *body = rows
    if [name.strip() for name in header] == ["path", "target"]:
        return _images(file, body)
    return _table(file, body, len(header))


def _images(file: Path, body: list[list[str]]) -> Dataset:
    short = next((n for n, row in enumerate(body, 2) if len(row) != 2), None)
    if short:
        raise UserError(f"csv:{file}:{short}: expected path,target, got {body[short - 2]}")
    names = sorted({target for _, target in body}, key=lambda t: (not t.isdigit(), int(t) if t.isdigit() else 0, t))
    files = [str(file.parent / path) for path, _ in body]
    return ImageFiles(f"csv:{file}", files, [names.index(target) for _, target in body], names)


def _table(file: Path, body: list[list[str]], columns: int) -> Dataset:
    values = []
    for line, row in enumerate(body, 2):
        try:
            values.append([float(cell) for cell in row])
        except ValueError as error:
            raise UserError(f"csv:{file}:{line}: {error}; a table without the columns path,target is all numbers") from error
        if len(row) != columns:
            raise UserError(f"csv:{file}:{line}: {len(row)} values where the header names {columns}")
    table = torch.tensor(values)
    return ArrayDataset(f"csv:{file}", table[:, :-1, None, None], table[:, -1])
