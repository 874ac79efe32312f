"""Losses by name. A file in this folder that registers a class is all it takes.

`loss(outputs, batch) -> dict[str, Tensor]`, each a mean over samples; entries whose name begins with "loss" are summed.
A class may ask, by naming them, for `num_classes`, `feature_dim`, `label_smoothing`, `class_weights` and `focal_gamma`;
other arguments come from LOSS.ARGS or LOSS.TERMS. What it takes is said by attributes of the class: `soft_targets = True`
where targets may be shares of classes, B x C, as mixup gives them, and `target_kinds`, the kinds of `Dataset.target_kind`
that it is for (without it, any).

`needs` is the entry of the outputs that the loss sees: "logits" (which a bare tensor is as well), "embedding" (what metric
losses compare) or "feature" (what classifiers with weights of their own see). A model that gives features has `feature_dim`.
An entry may have heads, B x P x N in place of B x N: the loss is then the mean of the heads' losses (deep supervision);
those with weights of their own, such as arcface, take B x D alone.

Losses that compare the samples of a batch with each other see one micro-batch of one rank: the samplers of identities put
whole identities into each. A loss may have parameters: they are trained by the same optimizer, under names such as
`loss.centers` or, among LOSS.TERMS, `loss.terms.1.centers`, for which SOLVER.PARAM_GROUPS sets rate and decay.

A loss may also have `of_batches(values, targets)`: from K x B x ... values of the entry that it needs and K x B class targets
the losses of K batches, K. Evaluations then ask it about several batches together, which is faster; nothing of one batch may
depend on the others.
"""

from utils.registry import Registry

LOSSES = Registry("loss", "modeling.losses")

__all__ = ["LOSSES"]
