"""A config as text: YAML with the origin of each value, the explanation of a key, the digest that groups repeats."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from config.node import Config
from utils.errors import UserError
from utils.registry import nearest

# Equal digests are repeats of one experiment: these keys do not make another one.
NOT_IN_DIGEST = {
    "VERSION",
    "SEED",
    "NAME",
    "OUTPUT_DIR",
    "MIRRORS",
    "MODEL.DEVICE",
    "DATASETS.CACHE_GB",
    "DATALOADER.LOADER",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.TIMEOUT",
    "DATALOADER.MAX_BAD",
    "SOLVER.LOG_PERIOD",
    "TEST.FIGURES",
    "SOLVER.CHECKPOINT_PERIOD",
    "SOLVER.CHECKPOINT_SECONDS",
    "SOLVER.CHECKPOINT_ASYNC",
    "DISTRIBUTED.MAX_REQUEUES",
    "TEST.AT_END",
}


def dump(cfg: Config) -> str:
    """YAML of every key, its origin as a trailing comment; itself a valid --config-file."""
    lines: list[str] = []
    section = ""
    flat = cfg.flat()
    for key in sorted(flat, key=lambda k: "." in k):  # keys without a section first, else they would fall into one
        value = flat[key]
        head, _, rest = key.rpartition(".")
        if head != section:
            lines.append(f"{head}:")
            section = head
        indent = "  " if head else ""
        lines.append(f"{indent}{rest or key}: {one_line(value)}  # {cfg.origins.get(key, 'default')}")
    return "\n".join(lines) + "\n"


def explain(cfg: Config, key: str) -> str:
    """What a key means, its value, where that came from and its default.

    Raises:
        UserError: there is no such key.
    """
    flat = cfg.flat()
    if key not in flat:
        raise UserError(f"unknown key {key}{nearest(key, list(flat))}")
    return f"{key}: {one_line(flat[key])}\n  origin:  {cfg.origins[key]}\n  meaning: {comments().get(key, '')}"


def digest(cfg: Config) -> str:
    """16 hex digits of everything that makes this experiment another one; see NOT_IN_DIGEST."""
    kept = {key: value for key, value in cfg.flat().items() if key not in NOT_IN_DIGEST}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def one_line(value: Any) -> str:
    """One line of YAML; floats keep all their digits, strings that look like something else get quotes."""
    if isinstance(value, float):
        return repr(value) if "." in repr(value) or "e" in repr(value) else f"{value!r}.0"
    if isinstance(value, str):
        return (
            json.dumps(value, ensure_ascii=False)
            if not re.fullmatch(r"[A-Za-z_/][\w/.-]*", value)
            or value.lower() in ("true", "false", "null", "yes", "no", "on", "off")
            else value
        )
    text = yaml.safe_dump(_plain(value), default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


@lru_cache(maxsize=1)
def comments() -> dict[str, str]:
    """The comments of defaults.py, so that `--explain` and the source say the same."""
    source = Path(__file__).with_name("defaults.py").read_text(encoding="utf-8")
    return dict(re.findall(r"^_C\.([\w.]+) = .*?  # (.+)$", source, flags=re.MULTILINE))
