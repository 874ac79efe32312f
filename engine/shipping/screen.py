"""Predictions as lines: a table for people, CSV, or JSON, each printed as soon as it is known."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from typing import Any, Protocol, TextIO

from rich.cells import cell_len, set_cell_size

from engine.figures.pictures import end_of
from engine.shipping.predictor import Prediction

BAR = 10  # characters


class Writer(Protocol):
    """Prints predictions one after another."""

    def write(self, one: Prediction) -> None: ...


def make_writer(form: str, kind: str, classes: Sequence[str], top: int, width: int) -> Writer:
    """What prints to stdout.

    Args:
        form: table, csv or json.
        kind: class, labels or value.
        top: how many classes a line names.
        width: of the screen, in characters; 0 cuts nothing off.
    """
    if form == "json":
        return JsonLines(sys.stdout, kind)
    if form == "csv":
        return Csv(sys.stdout, kind, min(top, len(classes)))
    return Table(sys.stdout, kind, max(map(cell_len, classes), default=0), top > 1, width)


class JsonLines:
    """An object a line: path, prediction, confidence and top; path and value of a regression; path and error of a file that
    cannot be read. A number that is not finite is null."""

    def __init__(self, out: TextIO, kind: str) -> None:
        self.out, self.kind = out, kind

    def write(self, one: Prediction) -> None:
        """One line."""
        content = self._content(one)
        line = json.dumps(content, ensure_ascii=False, allow_nan=False)
        if not line.isascii() and any("\ud800" <= letter <= "\udfff" for letter in line):  # of a path that is not UTF-8
            line = json.dumps(content, allow_nan=False)
        print(line, file=self.out)

    def _content(self, one: Prediction) -> dict[str, Any]:
        if one.error:
            return {"path": one.path, "error": one.error}
        if self.kind == "value":
            return {"path": one.path, "value": _finite(float(one.prediction))}
        said: Any = [name for name in one.prediction.split("|") if name] if self.kind == "labels" else one.prediction
        assert one.confidence is not None, "only a value has none"
        top = [{"class": name, "probability": _finite(round(value, 6))} for name, value in one.top]
        return {"path": one.path, "prediction": said, "confidence": _finite(round(one.confidence, 6)), "top": top}


class Csv:
    """path, prediction, confidence as in predictions.csv, then class_1, probability_1 and so on; error is the last."""

    def __init__(self, out: TextIO, kind: str, top: int) -> None:
        self.writer, self.kind = csv.writer(out, lineterminator="\n"), kind
        own = [] if kind == "value" else ["confidence"]
        more = [f"{word}_{n}" for n in range(1, top + 1) for word in ("class", "probability")]
        self.columns = ["path", "prediction", *own, *more, "error"]
        self.writer.writerow(self.columns)

    def write(self, one: Prediction) -> None:
        """One row; of a file that cannot be read only its path and the error."""
        sure = [] if one.confidence is None else [f"{one.confidence:.6f}"]
        cells = [one.path, one.prediction, *sure, *(cell for name, value in one.top for cell in (name, f"{value:.6f}"))]
        empty = [""] * (len(self.columns) - len(cells) - 1) if one.error else []
        self.writer.writerow([*cells, *empty, one.error])


class Table:
    """Aligned columns; a path that is too long loses its beginning.

    Args:
        longest: cells of the longest class.
        others: whether the classes behind the first one have a column.
    """

    def __init__(self, out: TextIO, kind: str, longest: int, others: bool, width: int) -> None:
        self.out, self.kind, self.width = out, kind, width
        self.said = min(max(longest, 10), 24) if kind != "value" else 12
        self.rest = 0 if kind == "value" or not others else 24
        room = (width or 120) - self.said - (BAR + 8) - self.rest - 6 * bool(self.rest)
        self.path = max(room if kind != "value" else (width or 120) - 14, 16)
        self._head()

    def write(self, one: Prediction) -> None:
        """One line. What cannot be read is said by the log."""
        if one.error:
            return
        said = self._cut(one.prediction.replace("|", ", ") or "(none)", self.said)
        if one.confidence is None:
            said, bar, others = f"{float(one.prediction):>12.6g}", "", ""
        else:
            bar = f"{_bar(one.confidence)} {one.confidence:.3f}"
            rest = one.top if self.kind == "labels" else one.top[1:]  # of labels all: the confidence is that of none of them
            others = "  ".join(f"{name} {value:.3f}" for name, value in rest)
        self._line(one.path, said, bar, others)

    def _head(self) -> None:
        if self.kind == "value":
            self._line("image", f"{'value':>12}", "", "")
        else:
            then = ("labels", "most probable") if self.kind == "labels" else ("class", "then")
            self._line("image", then[0], "confidence", then[1] if self.rest else "")
        print("\u2500" * (self.width or 120), file=self.out)

    def _line(self, path: str, said: str, bar: str, others: str) -> None:
        place = end_of(path, self.path) if self.width else path
        cells = [_padded(place, self.path), _padded(said, self.said), _padded(bar, BAR + 6) if bar else ""]
        cells += [self._cut(others, self.rest)] if self.rest else []
        print("  ".join(cell for cell in cells if cell).rstrip(), file=self.out)

    def _cut(self, text: str, most: int) -> str:
        return text if cell_len(text) <= most or not self.width else set_cell_size(text, most - 1).rstrip() + "\u2026"


def _padded(text: str, cells: int) -> str:
    """On a screen a Chinese letter is two cells wide."""
    return text + " " * (cells - cell_len(text))


def _finite(value: float) -> float | None:
    """None, which JSON has, for what it has not."""
    return value if math.isfinite(value) else None


def _bar(share: float) -> str:
    """Ten blocks in eighths; none of what is no number."""
    eighths = round(share * BAR * 8) if math.isfinite(share) else 0
    whole, part = divmod(eighths, 8)
    return ("\u2588" * whole + (chr(0x2590 - part) if part else "")).ljust(BAR, "\u00b7")
