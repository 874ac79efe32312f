"""A backbone that gives features to compare: pooling, an embedding, the batch-normalisation neck, a classifier to train by."""

from __future__ import annotations

from torch import Tensor, nn

from layers import BasicBlock, ConvBNReLU
from modeling.models import MODELS


class Embedding(nn.Module):
    """Features for retrieval (Luo et al., Bag of tricks and a strong baseline for deep person re-identification, 2019).

    Args:
        backbone: image -> B x C x H x W.
        channels: C.
        num_classes: identities of the training set.
        feature_dim: D, length of a feature.
    """

    def __init__(self, backbone: nn.Module, channels: int, num_classes: int, feature_dim: int) -> None:
        super().__init__()
        self.backbone, self.feature_dim = backbone, feature_dim
        self.reduce = nn.Linear(channels, feature_dim, bias=False)
        self.neck = nn.BatchNorm1d(feature_dim)
        self.neck.bias.requires_grad_(False)
        self.head = nn.Linear(feature_dim, num_classes, bias=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """B x C x H x W -> "embedding" B x D (what metric losses see), "feature" B x D (what is compared), and in training
        "logits" B x num_classes."""
        embedding = self.reduce(self.backbone(image).mean(dim=(2, 3)))
        feature = self.neck(embedding)
        found = {"embedding": embedding, "feature": feature}
        return {**found, "logits": self.head(feature)} if self.training else found


@MODELS.register("embedding")
def embedding(*, in_channels: int, num_classes: int, feature_dim: int = 128, width: int = 32) -> nn.Module:
    """The example model's body."""
    backbone = nn.Sequential(
        ConvBNReLU(in_channels, width),
        BasicBlock(width, 2 * width, stride=2),
        BasicBlock(2 * width, 4 * width, stride=2),
    )
    return Embedding(backbone, 4 * width, num_classes, feature_dim)
