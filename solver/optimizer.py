"""Any optimizer of torch.optim by name, its arguments checked against its signature, fused where that is supported."""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
from torch import Tensor

from solver.sgd import ARGUMENTS, SGD
from utils.errors import UserError
from utils.registry import nearest


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """The class of torch.optim called `name`.

    Raises:
        UserError: there is none.
    """
    base = torch.optim.Optimizer
    known = [k for k, v in vars(torch.optim).items() if isinstance(v, type) and issubclass(v, base) and v is not base]
    if name not in known:
        raise UserError(
            f"SOLVER.OPTIMIZER_NAME: torch.optim has no {name!r}{nearest(name, known)} ({', '.join(sorted(known))})"
        )
    return getattr(torch.optim, name)


def build_optimizer(
    name: str, groups: list[dict[str, Any]], *, lr: float, momentum: float, arguments: dict[str, Any]
) -> torch.optim.Optimizer:
    """The optimizer over `groups`.

    Args:
        momentum: passed on where the class has such an argument.
        arguments: further ones, by the class's own names; they win.

    Raises:
        UserError: an unknown class or argument, or a value that the class refuses.
    """
    kind = optimizer_class(name)
    names = [p for p in inspect.signature(kind).parameters if p not in ("self", "params")]
    for argument in arguments:
        if argument not in names or argument in ("lr", "weight_decay"):
            hint = "; that is a key of its own" if argument in ("lr", "weight_decay") else nearest(argument, names)
            raise UserError(f"SOLVER.OPTIMIZER_ARGS: {name} takes no {argument!r} here{hint} ({', '.join(names)})")
    given: dict[str, Any] = {"lr": lr}
    if "momentum" in names:
        given["momentum"] = momentum
    if "fused" in names and not {"fused", "foreach", "differentiable"} & set(arguments):
        given["fused"] = _can_fuse(name, [p for group in groups for p in group["params"]])
    if "weight_decay" not in names:
        groups = [{k: v for k, v in group.items() if k != "weight_decay"} for group in groups]
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    ours = kind is torch.optim.SGD and given.pop("fused", False) and set(plain) <= set(ARGUMENTS)
    try:
        if ours:  # the same numbers and the same state, without the import of torch's compiler
            return cast(torch.optim.Optimizer, SGD(groups, **{**given, **plain}))
        return kind(groups, **{**given, **plain})
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        what = "SOLVER.OPTIMIZER_ARGS" if arguments else f"SOLVER.OPTIMIZER_NAME {name}"
        raise UserError(
            f"{what}: {name} refuses {'them' if arguments else 'this model'}: {' '.join(str(error).split())}"
        ) from error


def _can_fuse(name: str, parameters: list[Tensor]) -> bool:
    """One kernel instead of a Python loop over parameters; bit-equal results are not promised between the two."""
    if name == "Adagrad" and any(hasattr(p, "to_local") for p in parameters):
        return False  # torch has no such kernel for sharded ones
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Gives every group `lr` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
