"""What a loss sees of a model's outputs, and whether the two fit each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from utils.errors import UserError

FEATURES = ("embedding", "feature")


def entry(outputs: Tensor | dict[str, Tensor], name: str) -> Tensor:
    """The entry called `name`; a model that gives a bare tensor gives that."""
    return outputs[name] if isinstance(outputs, dict) else outputs


def mean_over_heads(values: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The loss of B x N values, or the mean of the losses of the P heads of B x P x N values: deep supervision, as part-based
    models have it."""
    if values.ndim != 3:
        return loss(values)
    return torch.stack([loss(head) for head in values.unbind(1)]).mean()


def check_outputs(model_name: str, model: nn.Module | None, losses: Sequence[tuple[str, nn.Module]]) -> None:
    """Whether the model gives what the (name, loss) need, and whether they train all of it.

    Raises:
        UserError: they do not fit.
    """
    needs = [(name, getattr(loss, "needs", None)) for name, loss in losses]
    for name, needed in needs:
        if needed in FEATURES and (model is None or not getattr(model, "feature_dim", 0)):
            raise UserError(
                f"the loss {name} needs a model that gives features, such as MODEL.NAME embedding; {model_name} gives none"
            )
        trained_by = getattr(model, "trained_by", None)
        if needed == "logits" and trained_by is not None and "logits" not in trained_by:
            raise UserError(
                f"the loss {name} needs a model with a classifier, {model_name} has none; set MODEL.ARGS {{classifier: true}}"
            )
    for needed, remedy in getattr(model, "trained_by", {}).items():
        if all(other is not None and other != needed for _, other in needs):
            raise UserError(f"none of the losses sees the {needed} of {model_name}, which so would not be trained; {remedy}")
