"""How values are said: short, on one line, safe to print whatever someone typed as a reason."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any


def clean(value: Any) -> str:
    """As text on one line."""
    line = " ".join(str(value).split())
    return "".join(c if c.isprintable() else "?" for c in line)


def clipped(value: Any, width: int) -> str:
    """As text on one line of at most `width` characters."""
    line = clean(value)
    return line if len(line) <= width else f"{line[:width].rpartition(' ')[0] or line[: width - 1]} …"


def number(value: float | None) -> str:
    """Four digits after the point where that fits, or four digits in all."""
    if value is None:
        return "-"
    size = abs(value)
    return f"{value:.4f}" if size == 0 or 0.001 <= size < 1000 else f"{value:.4g}"


def signed(value: float | None) -> str:
    """A difference, to four digits after the point: beside scores, less is nothing."""
    return "-" if value is None else f"{value:+.4f}" if abs(value) < 1000 else f"{value:+.4g}"


def duration(seconds: float) -> str:
    """`41 s`, `12 min`, `3.2 h`, `2.5 d`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit in ((86400.0, "d"), (3600.0, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def age(started: str) -> str:
    """How long ago an ISO 8601 time (or a folder's date) was."""
    try:
        moment = datetime.fromisoformat(started)
    except ValueError:
        try:
            moment = datetime.strptime(started, "%Y-%m-%d_%H-%M-%S")
        except ValueError:
            return "-"
    seconds = (datetime.now().astimezone() - moment.astimezone()).total_seconds()
    if seconds >= 60 * 86400:  # two months
        return f"{int(seconds / (30.4 * 86400))} mo"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds / size)} {unit}"
    return "now"


def value(content: Any) -> str:
    """A config value, short."""
    if content is None:
        return "(none)"
    if isinstance(content, str):
        return clean(content) or '""'
    if isinstance(content, float):
        return f"{content:.6g}"
    return clean(json.dumps(content, ensure_ascii=False, default=str)).replace('"', "")


def origin(source: str) -> str:
    """Where a value came from, a file without its folders."""
    return source.rpartition("/")[2]


def changed(pairs: dict[str, list[Any]], limit: int = 100) -> str:
    """`BASE_LR 0.05→0.1, MODEL.NAME softmax→lenet`: a key's last part alone where that says which one it is."""
    words = []
    for key, (old, new) in pairs.items():
        last = key.rpartition(".")[2]
        # NAME alone says nothing, and two sections may have the same key.
        plain = last in ("NAME", "TRAIN", "TEST", "VAL") or sum(k.rpartition(".")[2] == last for k in pairs) > 1
        words.append(f"{key if plain else last} {value(old)}→{value(new)}")
    return ", ".join(words[:limit]) + (f" and {len(words) - limit} more" if len(words) > limit else "")


def plain(text: Any) -> str:
    """Text on one line that Markdown takes for nothing else: people and file names write what stands in records."""
    return re.sub(r"([\\`*\[\]<>|])", r"\\\1", clean(text))


def code(text: Any) -> str:
    """The same as Markdown's code, for a cell of a table; "" of nothing."""
    flat = clean(text).replace("`", "'").replace("|", "\\|")
    return f"`{flat}`" if flat else ""
