"""Which parameters get which learning rate and weight decay. Equal settings share a group: few groups are fast groups."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from torch import nn

from utils.errors import UserError

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


def make_groups(
    root: nn.Module,
    *,
    weight_decay: float,
    weight_decay_bias: float,
    weight_decay_norm: float,
    bias_lr_factor: float,
    patterns: Sequence[Sequence[Any]] = (),
    rate_factors: Mapping[str, float] | None = None,
    apart: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Groups of the trainable parameters of `root` with "params", "lr_factor", "weight_decay" and "name".

    Args:
        patterns: (pattern, rate factor, weight decay); fnmatch on the parameter's name, the first match wins, and its
            factor is final.
        rate_factors: name -> further factor of the rate; 1 for all others.
        apart: names of parameters that begin to train later: they share groups among themselves alone, because torch's
            fused optimizers cannot take steps with a group of which a part was never stepped.

    Raises:
        UserError: a pattern is malformed or matches no parameter; nothing is trainable.
    """
    _check(patterns)
    groups: dict[tuple[float, float, bool], tuple[list[str], list[nn.Parameter]]] = {}
    used: set[str] = set()
    for name, module, parameter in _trainable(root):
        more = rate_factors.get(name, 1.0) if rate_factors else 1.0
        own = next((p for p in patterns if fnmatch(name, p[0])), None)
        if own is not None:
            used.add(own[0])
            kind, factor, decay = own[0], float(own[1]), float(own[2])
        elif name.endswith("bias"):  # also in_proj_bias and the like
            kind, factor, decay = "bias", bias_lr_factor * more, weight_decay_bias
        elif isinstance(module, _NORMS) or parameter.ndim < 2:  # scales of layers are no weights either
            kind, factor, decay = "norm", more, weight_decay_norm
        else:
            kind, factor, decay = "weight", more, weight_decay
        kinds, parameters = groups.setdefault((factor, decay, name in apart), ([], []))
        parameters.append(parameter)
        if kind not in kinds:
            kinds.append(kind)
    unused = [p[0] for p in patterns if p[0] not in used]
    if unused:
        raise UserError(f"SOLVER.PARAM_GROUPS: no trainable parameter is called {unused[0]!r} (fnmatch, such as model.head.*)")
    if not groups:
        raise UserError("the model and the loss have no trainable parameter")
    return [
        {"params": parameters, "lr_factor": factor, "weight_decay": decay, "name": "+".join(kinds)}
        for (factor, decay, _), (kinds, parameters) in groups.items()
    ]


def fine_tuning_factors(
    depths: Mapping[str, int], filled: Collection[str], *, layer_decay: float, new_factor: float
) -> dict[str, float]:
    """Lower rates the nearer a layer is to the image, higher ones where it is new. Name of a parameter -> factor of its rate:
    layer_decay ** (greatest depth - its depth), times `new_factor` for those that are not in `filled`.

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


def _check(patterns: Sequence[Sequence[Any]]) -> None:
    for pattern in patterns:
        if len(pattern) != 3 or not isinstance(pattern[0], str) or not all(isinstance(v, int | float) for v in pattern[1:]):
            raise UserError(f"SOLVER.PARAM_GROUPS: expected [pattern, rate factor, weight decay], got {list(pattern)}")


def _trainable(root: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """(name, the module it belongs to, parameter); what is shared between modules comes once."""
    seen: set[int] = set()
    for module_name, module in root.named_modules():
        for name, parameter in module.named_parameters(prefix=module_name, recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, module, parameter
