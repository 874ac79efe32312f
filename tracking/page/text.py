"""Records as text inside a page: whatever they hold, it stays data."""

from __future__ import annotations

import json
import math
import os
from typing import Any
from urllib.parse import quote

_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


def as_json(value: Any) -> str:
    """JSON that neither ends the script element it stands in nor begins a comment there, in plain ASCII.

    NaN and infinities, which JSON does not have, become text, as does what has no JSON form.
    """
    try:
        text = json.dumps(value, allow_nan=False, default=str, separators=(",", ":"))
    except (ValueError, TypeError):
        text = json.dumps(_plain(value), separators=(",", ":"))
    return text.translate(_ESCAPES)


def as_url(path: str) -> str:
    """A relative path as a relative URL: no scheme, no query, no fragment can be in it."""
    return quote(os.fsencode(path))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | None) else str(value)
