"""The page itself: one HTML file that holds its styles, scripts and the overview, and runs nothing else.

Scripts and styles stand inside, each allowed by its digest: a page from disk may not load modules, and what a browser
takes for the page's own origin there differs. Curves and code lie in files beside the page; a script that is allowed by
its digest adds them as script elements when they are asked for ('strict-dynamic'), which works from disk and served.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from tracking.page.text import as_json

HERE = Path(__file__).resolve().parent
MARK = '<meta name="generator" content="Fieldbook report">'
STYLES = ("vendor/uplot/uPlot.min.css", "assets/base.css", "assets/parts.css", "assets/views.css")
LIBRARIES = ("vendor/uplot/uPlot.iife.min.js", "vendor/jsdiff/diff.min.js")
SCRIPTS = (
    "dom", "say", "data", "state", "filter", "columns", "pick", "table", "series", "charts", "curves", "parallel",
    "lineage", "lanes", "compare", "code", "run", "live", "main",
)  # fmt: skip


def document(content: dict[str, Any], files: str, live: bool) -> str:
    """The whole page.

    Args:
        content: the overview.
        files: address of the folder of runs, relative to the page, with a slash at its end.
        live: whether a server answers, so that the page asks it for news.
    """
    styles = [_read(name) for name in STYLES]
    scripts = [*map(_library, LIBRARIES), *(_read(f"assets/{name}.js") for name in SCRIPTS)]
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_digest, scripts))} 'strict-dynamic'",
            f"style-src {' '.join(map(_digest, styles))}",
            "img-src 'self' file: data:",
            f"connect-src {chr(39)}self{chr(39)}" if live else "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    parts = {
        "mark": MARK,
        "policy": f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        "styles": "\n".join(f"<style>{text}</style>" for text in styles),
        "data": _data("overview", content) + "\n" + _data("place", {"files": files, "live": live}),
        "scripts": "\n".join(f"<script>{text}</script>" for text in scripts),
    }
    page = _read("assets/index.html")
    for name, text in parts.items():
        head, tail = page.split(f"<!-- {name} -->")
        page = head + text + tail
    return page


def data_file(kind: str, key: str, content: Any) -> str:
    """What lies in `data/<kind>/<key>.js`: a call that hands the content over. It is parsed as JSON, where a key such as
    __proto__ is one like any other."""
    return f"page.data.arrive({as_json(kind)},{as_json(key)},JSON.parse({as_json(as_json(content))}));\n"


def _data(name: str, content: Any) -> str:
    return f'<script type="application/json" id="{name}">{as_json(content)}</script>'


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _library(name: str) -> str:
    """A library below its licence, which goes wherever a page goes."""
    licence = _read(f"{Path(name).parent}/LICENSE").replace("*/", "")
    return f"/*\n{licence}*/\n{_read(name)}"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
