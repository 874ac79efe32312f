"""What a merged config has to fulfil beyond the type and range of each key."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from config.node import Config
from utils import full_width
from utils.errors import UserError
from utils.names import check_run_name
from utils.redact import redact

GREATEST = {"INPUT.SIZE_TRAIN": 16_384, "INPUT.SIZE_TEST": 16_384, "MODEL.HIDDEN": 1_000_000}  # of an element
_ELEMENTS: dict[str, tuple[type, ...]] = {
    "SOLVER.STEPS": (int,),
    "MODEL.HIDDEN": (int,),
    "INPUT.SIZE_TRAIN": (int,),
    "INPUT.SIZE_TEST": (int,),
    "INPUT.PIXEL_MEAN": (int, float),
    "INPUT.PIXEL_STD": (int, float),
    "LOSS.CLASS_WEIGHTS": (int, float),
    "DATASETS.TRAIN": (str,),
    "DATASETS.VAL": (str,),
    "DATASETS.TEST": (str,),
    "MODEL.WEIGHTS_ALLOW": (str,),
    "HOOKS": (str,),
    "MIRRORS": (str, dict),
    "INPUT.TRANSFORMS_TRAIN": (str, dict),
    "INPUT.TRANSFORMS_TEST": (str, dict),
    "SOLVER.PARAM_GROUPS": (tuple,),
}


def check_together(cfg: Config) -> None:
    """Every text and every element of a list, and what one key alone cannot tell.

    Raises:
        UserError: one does not fit.
    """
    flat = cfg.flat()
    for key, value in flat.items():
        for text in _texts(value):
            _check_text(text, key, cfg.origins[key])
    _check_elements(cfg)
    if flat["NAME"] and cfg.origins["NAME"] != "derived":  # that of a file's name is checked where a run is made
        check_run_name(flat["NAME"])
    _check_folds(cfg)
    if list(flat["SOLVER.STEPS"]) != sorted(set(flat["SOLVER.STEPS"])):
        raise UserError(f"{cfg.origins['SOLVER.STEPS']}: SOLVER.STEPS must increase, got {list(flat['SOLVER.STEPS'])}")
    if flat["INPUT.MIN_SCALE_TRAIN"] > flat["INPUT.MAX_SCALE_TRAIN"]:
        raise UserError(f"{cfg.origins['INPUT.MIN_SCALE_TRAIN']}: INPUT.MIN_SCALE_TRAIN is greater than MAX_SCALE_TRAIN")
    for key in ("INPUT.SIZE_TRAIN", "INPUT.SIZE_TEST"):
        if len(flat[key]) > 2 or any(side < 1 for side in flat[key] if flat[key] != (0,)):
            raise UserError(f"{cfg.origins[key]}: {key} is [height, width] or one number, got {list(flat[key])}")
    if 0 in flat["INPUT.PIXEL_STD"]:
        raise UserError(f"{cfg.origins['INPUT.PIXEL_STD']}: INPUT.PIXEL_STD cannot be 0")


def _check_elements(cfg: Config) -> None:
    flat = cfg.flat()
    for key, kinds in _ELEMENTS.items():
        for element in flat[key]:
            fits = isinstance(element, kinds) and not isinstance(element, bool)
            if not fits or isinstance(element, int | float) and not (math.isfinite(element) and element >= 0):
                expected = " or ".join(
                    {"int": "whole numbers", "float": "numbers", "str": "names"}.get(k.__name__, k.__name__) for k in kinds
                )
                hint = full_width.hint(str(element))
                raise UserError(
                    f"{cfg.origins[key]}: {key} expects a list of {expected} (not negative), got {element!r} in it{hint}"
                )
            if key in GREATEST and element > GREATEST[key]:
                raise UserError(f"{cfg.origins[key]}: {key} expects at most {GREATEST[key]}, got {element}")


def _check_folds(cfg: Config) -> None:
    flat = cfg.flat()
    folds, fold = flat["DATASETS.FOLDS"], flat["DATASETS.FOLD"]
    if folds == 1:
        raise UserError(f"{cfg.origins['DATASETS.FOLDS']}: DATASETS.FOLDS expects 0 (off) or at least 2, got 1")
    if fold >= max(folds, 1):
        expects = f"0 to {folds - 1}" if folds else "0 where DATASETS.FOLDS is 0"
        raise UserError(f"{cfg.origins['DATASETS.FOLD']}: DATASETS.FOLD expects {expects}, got {fold}")
    if folds and flat["DATASETS.VAL"]:
        raise UserError(
            f"{cfg.origins['DATASETS.FOLDS']}: DATASETS.FOLDS validates on parts of the training data, and DATASETS.VAL names "
            "data to validate on; unset one"
        )


def _texts(value: Any) -> Iterator[str]:
    """Every string in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _texts(inner)


def _check_text(text: str, key: str, where: str) -> None:
    """The config is written into the run's record, into logs and file names."""
    if redact(text) != text:
        raise UserError(
            f"{where}: {key} holds a password or a token, and the config is written into the run's record; keep it in the "
            "environment, ~/.netrc or a mounted path"
        )
    if any(ord(letter) < 32 or ord(letter) == 127 or 0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        raise UserError(f"{where}: {key} holds a control character or no valid text, got {ascii(text[:60])}")
