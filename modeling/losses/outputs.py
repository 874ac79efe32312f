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


def check_needs(who: str, needed: str | None, model_name: str, model: nn.Module | None) -> None:
    """Whether the model gives the entry that `who` ("the loss triplet") needs; None: it does not say which.

    Raises:
        UserError: it does not.
    """
    if needed in FEATURES and not getattr(model, "feature_dim", 0):
        raise UserError(f"{who} needs a model that gives features, such as MODEL.NAME embedding; {model_name} gives none")
    if needed == "logits" and "logits" not in getattr(model, "trained_by", {"logits": ""}):
        raise UserError(f"{who} needs a model with a classifier, {model_name} has none; set MODEL.ARGS {{classifier: true}}")


def check_outputs(model_name: str, model: nn.Module | None, losses: Sequence[tuple[str, nn.Module]]) -> None:
    """Whether the model gives what the losses, (name, loss) each, need, and whether they train all of it: a model may say by
    `trained_by` which entry some loss has to see for that, and what helps where none does.

    Raises:
        UserError: they do not fit each other.
    """
    needs: list[str | None] = [getattr(loss, "needs", None) for _, loss in losses]
    for (name, _), needed in zip(losses, needs, strict=True):
        check_needs(f"the loss {name}", needed, model_name, model)
    remedies: dict[str, str] = getattr(model, "trained_by", {})
    for needed, remedy in remedies.items():
        if None not in needs and needed not in needs:
            raise UserError(f"none of the losses sees the {needed} of {model_name}, which so would not be trained; {remedy}")
