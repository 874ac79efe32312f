"""Learning rates of fine-tuning: lower the nearer a layer is to the image, higher where a layer is new."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from utils.errors import UserError


def rate_factors(
    depths: Mapping[str, int], filled: Collection[str], *, layer_decay: float, new_factor: float
) -> dict[str, float]:
    """Name of a parameter -> factor of its learning rate: layer_decay ** (greatest depth - its depth), times `new_factor`
    for those that are not in `filled`.

    Layer-wise decay is that of Clark et al. (ELECTRA, 2020) and Bao et al. (BEiT, 2022): the head has factor 1.

    Raises:
        UserError: `new_factor` is set, and no weights were loaded or nothing is new.
    """
    new = [name for name in depths if name not in filled]
    if new_factor != 1 and (not filled or not new):
        why = "every layer was filled by MODEL.WEIGHTS" if filled else "MODEL.WEIGHTS filled none: it is not set"
        raise UserError(f"SOLVER.NEW_LR_FACTOR {new_factor:g}: {why}; leave it 1")
    greatest = max(depths.values(), default=0)
    return {name: layer_decay ** (greatest - depth) * (1.0 if name in filled else new_factor) for name, depth in depths.items()}
