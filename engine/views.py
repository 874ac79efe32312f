"""Test-time augmentation: a sample is judged by several views of it, and its prediction is the mean over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.task import Batch, Outputs, Task
from modeling.losses.outputs import entry
from utils.errors import UserError
from utils.registry import nearest


def _five_crop(image: Tensor) -> list[Tensor]:
    """The corners and the middle, 7/8 of each side, resized back so that any model takes them."""
    height, width = image.shape[-2:]
    tall, wide = max(height * 7 // 8, 1), max(width * 7 // 8, 1)
    bottom, right = height - tall, width - wide
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = [image[..., top : top + tall, left : left + wide] for top, left in corners]
    return [functional.interpolate(c, size=(height, width), mode="bilinear", align_corners=False) for c in crops]


# name: normalised images B x C x H x W -> further views of them, each of that shape
VIEWS: dict[str, Callable[[Tensor], list[Tensor]]] = {
    "hflip": lambda image: [image.flip(-1)],
    "vflip": lambda image: [image.flip(-2)],
    "rot90": lambda image: [image.rot90(turns, (-2, -1)) for turns in (1, 2, 3)],
    "five_crop": _five_crop,
}


def _mean_softmax(logits: Tensor) -> Tensor:
    """V x B x C logits -> the logits B x C whose softmax is the mean of the V softmaxes."""
    return logits.log_softmax(dim=2).logsumexp(dim=0) - torch.tensor(float(len(logits))).log()


def _mean_sigmoid(logits: Tensor) -> Tensor:
    """V x ... logits -> those whose sigmoid is the mean of the V sigmoids: log(sum of p) - log(sum of 1 - p)."""
    return functional.logsigmoid(logits).logsumexp(dim=0) - functional.logsigmoid(-logits).logsumexp(dim=0)


# what an evaluator says in `averages`: (entry of a model's dict of outputs, outputs of V views -> outputs)
MEANS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "softmax": ("logits", _mean_softmax),
    "sigmoid": ("logits", _mean_sigmoid),
    "mean": ("prediction", lambda values: values.mean(dim=0)),
    "feature": ("feature", lambda values: values.mean(dim=0)),
}


class AveragedTask(nn.Module):
    """A task that is asked about an image and about views of it; loss and evaluator see the mean prediction.

    Probabilities are averaged, and handed on as the logits that stand for them: whoever takes logits takes these.

    Args:
        task: model and loss.
        views: names in `VIEWS`; the image itself always counts too, once.
        averages: softmax (classes), sigmoid (multi-label), mean (values) or feature (retrieval): how predictions are averaged.
    """

    def __init__(self, task: Task, views: Sequence[str], averages: str) -> None:
        super().__init__()
        self.task, self.views = task, tuple(views)
        self.entry, self.average = MEANS[averages]

    def forward(self, batch: Batch) -> tuple[Outputs, dict[str, Tensor]]:
        """As of `Task`; other entries of a dict of outputs are those of the image itself."""
        outputs = self.outputs(batch["image"])
        if self.entry == "feature":  # of identities that the loss does not know
            return outputs, {}
        return outputs, self.task.loss(outputs, batch)

    def outputs(self, image: Tensor) -> Outputs:
        """The mean prediction over the views of normalised images, B x C x H x W."""
        images = [image, *(view for name in self.views for view in VIEWS[name](image))]
        all_outputs: list[Outputs] = [self.task.model(view) for view in images]
        first = all_outputs[0]
        pick = [entry(outputs, self.entry) for outputs in all_outputs]
        mean = self.average(torch.stack([values.float() for values in pick]))
        return {**first, self.entry: mean} if isinstance(first, dict) else mean


def check_views(views: Sequence[str], evaluator: object, size: Sequence[int]) -> None:
    """What `AveragedTask` would stumble over.

    Args:
        size: (height, width) of an image of the evaluation, pixels.

    Raises:
        UserError: an unknown view, one that does not fit the images, or an evaluator that does not say how predictions
            are averaged.
    """
    for name in views:
        if name not in VIEWS:
            raise UserError(f"TEST.AUGMENT: unknown view {name!r}{nearest(name, list(VIEWS))} (known: {', '.join(VIEWS)})")
    if "rot90" in views and size[0] != size[1]:
        raise UserError(f"TEST.AUGMENT: rot90 needs square images, these are {size[0]} x {size[1]}; set INPUT.SIZE_TEST")
    if len(set(views)) != len(views):
        raise UserError(f"TEST.AUGMENT: a view stands twice in {list(views)}")
    if views and getattr(evaluator, "averages", None) not in MEANS:
        raise UserError(
            f"TEST.AUGMENT: {type(evaluator).__name__} does not say how predictions are averaged; give it an attribute "
            f"`averages`, one of {', '.join(MEANS)}, or set TEST.AUGMENT to []"
        )
