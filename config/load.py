"""How the layers merge. Whatever does not fit is one error that names place, key, what was expected and what was got."""

from __future__ import annotations

import argparse
import ast
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yaml.nodes import MappingNode

from config.arguments import Override
from config.check import check_together
from config.defaults import CHOICES, DEFAULT_RANGE, FREE_MAPPINGS, RANGES, get_defaults
from config.node import Config, FreeMapping
from config.renamed import instead_of, renew
from config.yaml_loader import read_value, read_yaml
from utils import full_width
from utils.errors import UserError
from utils.registry import nearest

LOG = logging.getLogger("fieldbook.config")
MAX_BASES = 100  # files that _BASE_ may bring in, and how deep
SECTION = MappingNode  # what read_yaml gives for a key that has keys below it


def load(args: argparse.Namespace) -> Config:
    """The config of a command line that `parse_arguments` read."""
    return load_file(args.config_file, args.overrides)


def load_file(path: str | Path | None, overrides: Sequence[Override | tuple[str, Any]] = ()) -> Config:
    """Defaults, then `path` with its `_BASE_`s, then `overrides` in order: checked and frozen.

    Raises:
        UserError: a file is missing or no YAML, or a key or value does not fit. Nothing is half merged.
    """
    cfg = _begun()
    for pairs in _file_layers(Path(path), ()) if path else ():
        _merge(cfg, pairs)
    return _finished(cfg, overrides, Path(path).stem if path else "")


def load_run(path: str | Path, overrides: Sequence[Override | tuple[str, Any]] = ()) -> Config:
    """An old run's own config for today's code: missing keys take their defaults, unknown ones are warned of.

    Raises:
        UserError: the file is missing, or a value that is known does not fit.
    """
    cfg = _begun()
    known = cfg.flat()
    pairs = _renewed(_read(Path(path)), unsaid=1)
    keys = {key for key, (value, _) in pairs.items() if value is not SECTION}
    unknown = sorted(k for k in keys if k not in known and not _below_free(k))
    if unknown:
        named = ", ".join(f"{key} ({instead_of(key)})" if instead_of(key) else key for key in unknown)
        LOG.warning("%s: this code does not know %s; the run's own copy (--code run) does", path, named)
    missing = sorted(k for k in known if k not in keys and k not in FREE_MAPPINGS and k != "VERSION")
    if missing:
        LOG.info("%s: written by older code; defaults are taken for %s", path, ", ".join(missing))
    sections = {key.partition(".")[0] for key in known}
    _merge(cfg, {k: v for k, v in pairs.items() if k not in unknown and (v[0] is not SECTION or k in sections)})
    return _finished(cfg, overrides, "")


def freeze_with(cfg: Config, values: dict[str, Any]) -> Config:
    """A frozen copy of `cfg` with values that were derived from data, such as the number of classes."""
    twin = cfg.clone()
    for key, value in values.items():
        if twin.flat()[key] != value:
            twin.set_flat(key, value)
            twin.origins[key] = "derived"
    twin.freeze()
    return twin


def _begun() -> Config:
    cfg = get_defaults()
    cfg.origins.update(dict.fromkeys(cfg.flat(), "default"))
    return cfg


def _finished(cfg: Config, overrides: Sequence[Override | tuple[str, Any]], stem: str) -> Config:
    _merge_overrides(cfg, overrides)
    _derive(cfg, stem)
    check_together(cfg)
    cfg.freeze()
    return cfg


def _read(path: Path) -> dict[str, tuple[Any, str]]:
    if path.suffix not in (".yml", ".yaml"):
        raise UserError(f"{path}: a config is a .yml or .yaml file; Python and other files are never read as one")
    try:
        return read_yaml(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: no UTF-8 text (it may be GBK); save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); see configs/ for those that exist") from error


def _renewed(pairs: dict[str, tuple[Any, str]], unsaid: int = 0) -> dict[str, tuple[Any, str]]:
    """The pairs of a file under today's names. `unsaid`: the VERSION of a file that names none, 0 where nobody knows."""
    known = get_defaults().flat()
    version, where = pairs.pop("VERSION", (unsaid, ""))
    if where and (not isinstance(version, int) or isinstance(version, bool) or version < 1):
        raise UserError(f"{where}: VERSION expects a whole number of at least 1, got {version!r}")
    if version > known["VERSION"]:
        raise UserError(
            f"{where}: written for newer code (VERSION {version}, this code has {known['VERSION']}); update this code, or "
            "take the code that a run carries along (--code run)"
        )
    return renew(pairs, known, version)


def _file_layers(path: Path, chain: tuple[Path, ...]) -> list[dict[str, tuple[Any, str]]]:
    """The file's `_BASE_`s, in order and each with its own, then the file itself."""
    if path.resolve() in chain:
        raise UserError(f"{path}: _BASE_ goes round in a circle ({' -> '.join(p.name for p in (*chain, path))})")
    if len(chain) >= MAX_BASES:
        raise UserError(f"{path}: _BASE_ goes more than {MAX_BASES} files deep; this is no config")
    pairs = _renewed(_read(path))
    base, where = pairs.pop("_BASE_", ((), ""))
    bases = [base] if isinstance(base, str) else base
    if not isinstance(bases, list | tuple) or not all(isinstance(b, str) for b in bases):
        raise UserError(f"{where}: _BASE_ is a path or a list of paths, got {base!r}")
    layers = []
    for name in bases:
        if not (path.parent / name).is_file():
            raise UserError(f"{where}: _BASE_ {name!r} does not exist; it is looked for beside {path.name}")
        layers += _file_layers(path.parent / name, (*chain, path.resolve()))
        if len(layers) > MAX_BASES:
            raise UserError(f"{where}: _BASE_ brings in more than {MAX_BASES} files; this is no config")
    return [*layers, pairs]


def _merge_overrides(cfg: Config, overrides: Sequence[Override | tuple[str, Any]]) -> None:
    typed: dict[str, str] = {}  # today's key -> as it was spelled
    for entry in overrides:
        key, value, *rest = entry
        origin = rest[0] if rest else "command line"
        if key == "VERSION":
            raise UserError(f"{origin}: VERSION tells for which code a YAML was written; it stands in the YAML")
        plain = read_value(value, key) if isinstance(value, str) else value
        pairs = renew({key: (plain, origin)}, cfg.flat())
        (today, (renewed, _)) = next(iter(pairs.items()))
        if origin == "command line" and rest and typed.setdefault(today, key) != key:
            raise UserError(f"{origin}: {typed[today]} and {key} are the same key; keep {today} alone")
        _merge(cfg, pairs, text=value if isinstance(value, str) and renewed is plain else None)


def _below_free(key: str) -> bool:
    return any(key.startswith(f"{free}.") for free in FREE_MAPPINGS)


def _merge(cfg: Config, pairs: dict[str, tuple[Any, str]], text: str | None = None) -> None:
    known = get_defaults().flat()
    sections = {key.partition(".")[0] for key in known if "." in key}
    for key, (value, where) in pairs.items():
        if value is SECTION:
            if key not in sections:
                raise UserError(f"{where}: unknown key {key}{nearest(key, sorted(sections | set(known)))}")
            continue
        if key in sections:
            raise UserError(f"{where}: {key} is a section of keys, it cannot be {value!r}; write {key}.KEY")
        if key not in known:
            instead = instead_of(key)
            raise UserError(
                f"{where}: there is no key {key}; {instead}"
                if instead
                else f"{where}: unknown key {key}{nearest(key, sorted(known))}"
            )
        cfg.set_flat(key, _fit(key, value, known[key], where, text))
        cfg.origins[key] = where


def _fit(key: str, value: Any, default: Any, where: str, text: str | None) -> Any:
    """`value` in the type of the key's default, or an error that says what was expected."""

    def wrong(expected: str) -> UserError:
        got = text if text is not None else value
        return UserError(f"{where}: {key} expects {expected}, got {got!r}{full_width.hint(str(got))}")

    if isinstance(default, dict):
        if not isinstance(value, dict):
            raise wrong("a mapping such as {nesterov: true}")
        return FreeMapping(value)
    if isinstance(default, tuple):
        return _tuple(value)
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise wrong("true or false")
        return value
    if isinstance(default, str):
        value = text if text is not None and not isinstance(value, str) else value
        if not isinstance(value, str):
            raise wrong(f"text (in quotes, if {value!r} is meant)")
        if key in CHOICES and value not in CHOICES[key]:
            raise wrong("one of " + ", ".join(choice or '"" (off)' for choice in CHOICES[key]))
        return value
    return _number(key, value, default, wrong)


def _number(key: str, value: Any, default: float, wrong: Any) -> int | float:
    kind = "a whole number" if isinstance(default, int) else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float) or isinstance(value, float) and isinstance(default, int):
        raise wrong(kind)
    least, greatest = RANGES.get(key, DEFAULT_RANGE)
    low = float(least.lstrip(">")) if isinstance(least, str) else least
    too_low = value <= low if isinstance(least, str) else value < low
    if not math.isfinite(value) or too_low or value > greatest:
        upper = f" and at most {greatest:g}" if greatest < 1e5 or value > greatest else ""
        raise wrong(f"{kind} {'above' if isinstance(least, str) else 'of at least'} {low:g}{upper}")
    return type(default)(value)


def _tuple(value: Any) -> tuple[Any, ...]:
    """A list, or one value for a list of one. The classic template writes tuples as text: "(500,)", "('mnist')"."""
    if isinstance(value, str) and value.startswith("(") and value.endswith(")"):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return (value,)
    if isinstance(value, list | tuple):
        return tuple(_tuple(v) if isinstance(v, list) else FreeMapping(v) if isinstance(v, dict) else v for v in value)
    return () if value == "" else (value,)


def _derive(cfg: Config, stem: str) -> None:
    """What follows from other keys."""
    if not cfg.flat()["NAME"] and stem:
        cfg.set_flat("NAME", stem)
        cfg.origins["NAME"] = "derived"
    if cfg.flat()["SOLVER.STEPS"] and cfg.origins["SOLVER.SCHEDULE"] == "default":
        cfg.set_flat("SOLVER.SCHEDULE", "multi_step")
        cfg.origins["SOLVER.SCHEDULE"] = "derived"
