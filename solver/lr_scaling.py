"""The learning rate for another batch than the one it was tuned for: explicit, one line of arithmetic."""

from __future__ import annotations

import math

from utils.errors import UserError


def scale_factor(rule: str, batch: int, tuned_for: int) -> float:
    """What the base rate is multiplied by for steps of `batch` samples.

    Args:
        rule: "" (1), "linear" (batch / tuned_for; Goyal et al., Accurate, Large Minibatch SGD, 2017) or "sqrt" (the
            square root of that, usual with Adam; Krizhevsky, One weird trick, 2014).
        tuned_for: samples a step that the base rate was found with.

    Raises:
        UserError: there is a rule, and `tuned_for` is 0.
    """
    if not rule:
        return 1.0
    if tuned_for < 1:
        raise UserError(
            f"SOLVER.LR_SCALING {rule} needs SOLVER.LR_SCALING_BATCH: the samples a step that SOLVER.BASE_LR was tuned for"
        )
    return batch / tuned_for if rule == "linear" else math.sqrt(batch / tuned_for)


def arithmetic(rule: str, base: float, batch: int, tuned_for: int) -> str:
    """`0.1 x 256/64 = 0.4 (linear)`, for the run card."""
    if not rule:
        return "not scaled with the batch"
    share = f"{batch}/{tuned_for}" if rule == "linear" else f"sqrt({batch}/{tuned_for})"
    return f"{base:g} x {share} = {base * scale_factor(rule, batch, tuned_for):g} ({rule} in the batch)"
