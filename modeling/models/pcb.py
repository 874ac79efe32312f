"""Part-based features: horizontal stripes of the map, each with a feature and a classifier of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from modeling.arguments import check_range
from modeling.backbones import Backbone, build_backbone
from modeling.models import MODELS
from utils.errors import UserError


class PartsBaseline(nn.Module):
    """PCB (Sun et al., Beyond part models: person retrieval with refined part pooling, 2018), without the refinement.

    Args:
        backbone: makes the map of features.
        num_classes: identities of the training set.
        parts: P stripes of the same height.
        feature_dim: D of each of them.
    """

    weights_prefix = "backbone."

    def __init__(self, backbone: Backbone, num_classes: int, parts: int = 6, feature_dim: int = 256) -> None:
        super().__init__()
        self.backbone, self.to_map = backbone.module, backbone.to_map
        self.parts, self.feature_dim = parts, parts * feature_dim
        self.reduce = nn.ModuleList(
            nn.Sequential(
                nn.Linear(backbone.channels, feature_dim, bias=False), nn.BatchNorm1d(feature_dim), nn.ReLU(inplace=True)
            )
            for _ in range(parts)
        )
        self.heads = nn.ModuleList(nn.Linear(feature_dim, num_classes) for _ in range(parts))
        self.trained_by = {"logits": "add cross_entropy to LOSS.TERMS"}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """B x C x H x W -> "embedding" and "feature", the parts' features end to end, B x (P D); "logits", in training
        B x P x num_classes, in evaluation their mean."""
        stripes = stripe_means(self.to_map(self.backbone(image)), self.parts)
        features = [reduce(stripe) for reduce, stripe in zip(self.reduce, stripes, strict=True)]
        logits = torch.stack([head(feature) for head, feature in zip(self.heads, features, strict=True)], dim=1)
        feature = torch.cat(features, dim=1)
        return {"embedding": feature, "feature": feature, "logits": logits if self.training else logits.mean(dim=1)}


def stripe_means(x: Tensor, parts: int) -> list[Tensor]:
    """B x C x H x W -> the means, B x C, of horizontal stripes from top to bottom. Where H does not divide, neighbours share a
    row, as in adaptive pooling, whose backward adds in no fixed order on a GPU."""
    rows = x.shape[2]
    if rows % parts == 0:
        return list(x.unflatten(2, (parts, rows // parts)).mean(dim=(3, 4)).unbind(2))
    bounds = [(rows * part // parts, -(-rows * (part + 1) // parts)) for part in range(parts)]
    return [x[:, :, top:bottom].mean(dim=(2, 3)) for top, bottom in bounds]


@MODELS.register("pcb")
def pcb(
    *,
    in_channels: int,
    num_classes: int,
    image_size: tuple[int, int],
    drop_path: float = 0.0,
    backbone: str = "torchvision/resnet50",
    parts: int = 6,
    feature_dim: int = 256,
    last_stride: str = "one",
    backbone_args: dict[str, Any] | None = None,
) -> nn.Module:
    """The paper's arguments; those of the backbone are as in embedding.py.

    Raises:
        UserError: an argument is out of range, or the map has fewer rows than parts.
    """
    check_range("MODEL.ARGS parts", parts, 1)
    check_range("MODEL.ARGS feature_dim", feature_dim, 1)
    body = build_backbone(backbone, in_channels, image_size, drop_path, last_stride, backbone_args)
    if body.rows < parts:
        raise UserError(
            f"MODEL.ARGS parts {parts}: the map of {backbone} has {body.rows} rows for images {image_size[0]} pixels high; "
            "take fewer parts or a larger INPUT.SIZE_TRAIN"
        )
    return PartsBaseline(body, num_classes, parts, feature_dim)
