"""`csv:PATH`: a table with the columns path,target or path,targets (images), or numbers of which the last is the target."""

from __future__ import annotations

import csv
import logging
import math
import re
from pathlib import Path

import torch

from data.dataset import ArrayDataset, Dataset, class_order
from data.datasets import DATASETS
from data.datasets.image_folder import ImageFiles, check_names
from utils.errors import UserError

LOG = logging.getLogger("fieldbook.data")


@DATASETS.register("csv")
def csv_file(place: str, root: str, train: bool, seed: int) -> Dataset | None:
    """The file is the training part; name another one in DATASETS.TEST.

    Image paths are relative to the CSV's folder. With path,target an empty cell is a sample without a label. With
    path,targets a cell holds any number of classes, separated by | or ; (none: empty), and a target is C floats of 0 and 1:
    multi-label. Numeric tables become samples of shape columns x 1 x 1 (float32) with a float target: regression.

    Raises:
        UserError: no such file, no rows, or a value that is no number, with its line.
    """
    if not train:
        return None
    file = Path(place)
    if not file.is_file():
        raise UserError(f"csv:{place}: no such file; write csv:PATH")
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:  # Excel writes a mark in front
            rows = list(csv.reader(stream))
    except UnicodeDecodeError as error:
        raise UserError(f"csv:{place}: no UTF-8 text (it may be GBK); save it as UTF-8") from error
    except (csv.Error, OSError) as error:
        raise UserError(f"csv:{place}: cannot be read ({error})") from error
    while rows and not rows[-1]:
        rows.pop()  # empty lines at the end
    if len(rows) < 2:
        raise UserError(f"csv:{place}: needs a line of column names and at least one row")
    header, *body = rows
    if [name.strip() for name in header] == ["path", "target"]:
        return _images(file, body)
    if [name.strip() for name in header] == ["path", "targets"]:
        return _labelled_images(file, body)
    return _table(file, body, len(header))


def _images(file: Path, body: list[list[str]]) -> Dataset:
    files = _files(file, body, "target")
    names = class_order({target for _, target in body if target.strip()})
    if not names:
        raise UserError(f"csv:{file}: no cell of the column target names a class")
    if any("|" in name for name in names):
        LOG.warning("csv:%s: %r is taken as one class; name the column targets where | parts several", file, names[-1])
    return ImageFiles(f"csv:{file}", files, [names.index(target) if target.strip() else None for _, target in body], names)


def _labelled_images(file: Path, body: list[list[str]]) -> Dataset:
    files = _files(file, body, "targets")
    cells = [{name.strip() for name in re.split("[|;]", cell)} - {""} for _, cell in body]
    names = class_order(set().union(*cells))
    if not names:
        raise UserError(f"csv:{file}: no cell of the column targets names a class")
    numbers = {name: number for number, name in enumerate(names)}
    return ImageFiles(f"csv:{file}", files, [tuple(sorted(numbers[name] for name in cell)) for cell in cells], names)


def _files(file: Path, body: list[list[str]], column: str) -> list[str]:
    short = next((n for n, row in enumerate(body, 2) if len(row) != 2), None)
    if short:
        raise UserError(f"csv:{file}:{short}: expected path,{column}, got {body[short - 2]}")
    files = [str(file.parent / path) for path, _ in body]
    check_names(f"csv:{file}", files)
    return files


def _table(file: Path, body: list[list[str]], columns: int) -> Dataset:
    values = []
    for line, row in enumerate(body, 2):
        try:
            values.append([float(cell) for cell in row])
        except ValueError as error:
            raise UserError(f"csv:{file}:{line}: {error}; a table without the columns path,target(s) is all numbers") from error
        if not all(map(math.isfinite, values[-1])):
            raise UserError(f"csv:{file}:{line}: {row} holds what is no finite number; fill it in or leave the line out")
        if len(row) != columns:
            raise UserError(f"csv:{file}:{line}: {len(row)} values where the header names {columns}")
    table = torch.tensor(values)
    return ArrayDataset(f"csv:{file}", table[:, :-1, None, None], table[:, -1])
