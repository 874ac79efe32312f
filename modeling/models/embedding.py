"""A backbone that gives features to compare: pooling, a feature, the batch-normalisation neck, a classifier to train by."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from layers.pooling import POOLINGS
from modeling.arguments import check_choice, check_range
from modeling.backbones import Backbone, build_backbone
from modeling.models import MODELS

NECKS = ("bnneck", "none")
PLACES = ("after", "before")


class Embedding(nn.Module):
    """Features for retrieval (Luo et al., Bag of tricks and a strong baseline for deep person re-identification, 2019).

    Args:
        backbone: makes the map of features.
        num_classes: identities of the training set; 0: no classifier.
        pooling: a name in layers/pooling.py.
        feature_dim: D, length of a feature; 0: the backbone's channels, without a layer that reduces them.
        neck: whether the classifier sees the embedding batch-normalised.
        compare_before: in evaluation features are compared as they are before the neck.
        dropout: of the feature, on its way to the classifier.
    """

    weights_prefix = "backbone."  # a classifier's own file fills the backbone

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        pooling: str = "average",
        feature_dim: int = 0,
        neck: bool = True,
        compare_before: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone, self.to_map, self.pooling = backbone.module, backbone.to_map, POOLINGS[pooling]()
        self.feature_dim, self.compare_before = feature_dim or backbone.channels, compare_before
        self.reduce = nn.Linear(backbone.channels, feature_dim, bias=False) if feature_dim else nn.Identity()
        self.neck, self.dropout = nn.BatchNorm1d(self.feature_dim) if neck else nn.Identity(), nn.Dropout(dropout)
        if isinstance(self.neck, nn.BatchNorm1d):
            self.neck.bias.requires_grad_(False)
        self.head = nn.Linear(self.feature_dim, num_classes, bias=not neck) if num_classes else None
        if self.head is not None and neck:
            nn.init.normal_(self.head.weight, std=0.001)
        # what a loss has to see for all to be trained, and what helps where none does
        self.trained_by = {}
        if self.head is not None:
            self.trained_by = {"logits": "add cross_entropy to LOSS.TERMS, or set MODEL.ARGS {classifier: false}"}
        elif neck:
            self.trained_by = {"feature": "take a loss that does, such as arcface, or set MODEL.ARGS {neck: none}"}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """B x C x H x W -> "embedding" B x D (what metric losses see), "feature" B x D (after the neck; in evaluation what is
        compared) and, with a classifier, "logits" B x num_classes."""
        embedding = self.reduce(self.pooling(self.to_map(self.backbone(image))))
        normalised = self.neck(embedding)
        before = self.compare_before and not self.training
        found = {"embedding": embedding, "feature": embedding if before else normalised}
        return found if self.head is None else {**found, "logits": self.head(self.dropout(normalised))}


@MODELS.register("embedding")
def embedding(
    *,
    in_channels: int,
    num_classes: int,
    image_size: tuple[int, int],
    drop_path: float = 0.0,
    backbone: str = "example_model",
    pooling: str = "average",
    feature_dim: int = 0,
    neck: str = "bnneck",
    compare: str = "after",
    dropout: float = 0.0,
    last_stride: str = "own",
    backbone_args: dict[str, Any] | None = None,
    classifier: bool = True,
) -> nn.Module:
    """Any backbone with what makes features of its map.

    Args:
        backbone: as MODEL.NAME names a classifier: see modeling/backbones.py.
        compare: after or before: the neck, in evaluation.
        last_stride: own or one.
        backbone_args: further arguments of the backbone's own factory, such as {width: 64}.
        classifier: false for losses that have weights of their own, such as arcface.

    Raises:
        UserError: an argument is unknown or out of range.
    """
    check_choice("MODEL.ARGS pooling", pooling, sorted(POOLINGS))
    check_choice("MODEL.ARGS neck", neck, NECKS)
    check_choice("MODEL.ARGS compare", compare, PLACES)
    check_range("MODEL.ARGS feature_dim", feature_dim, 0)
    check_range("MODEL.ARGS dropout", dropout, 0, 1)
    body = build_backbone(backbone, in_channels, image_size, drop_path, last_stride, backbone_args)
    classes = num_classes if classifier else 0
    return Embedding(body, classes, pooling, feature_dim, neck == "bnneck", compare == "before", dropout)
