"""OSNet (Zhou et al., Omni-Scale Feature Learning for Person Re-Identification, 2019).

The names of the weights are those of the files that its authors published, which MODEL.WEIGHTS loads (with
MODEL.WEIGHTS_ALLOW "[classifier.*]": the identities are others).
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from modeling.models import MODELS


def conv_norm(
    before: int, after: int, kernel: int = 1, stride: int = 1, relu: bool = True, instance: bool = False
) -> nn.Module:
    """A convolution that keeps the size but for its stride, batch (or instance) normalisation and, if asked for, ReLU."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)
    parts["bn"] = nn.InstanceNorm2d(after, affine=True) if instance else nn.BatchNorm2d(after)
    if relu:
        parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def lite_conv(channels: int) -> nn.Module:
    """The paper's lite 3 x 3: a 1 x 1 convolution over channels, then a 3 x 3 one within each, normalisation, ReLU."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, channels, 1, bias=False),
            conv2=nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            bn=nn.BatchNorm2d(channels),
            relu=nn.ReLU(inplace=True),
        )
    )


class ChannelGate(nn.Module):
    """The unified aggregation gate: how much of each channel passes, by the channels' means; one for all streams."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W -> the same shape."""
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * self.fc2(functional.relu(self.fc1(mean))).sigmoid()


class OmniScaleBlock(nn.Module):
    """A bottleneck whose streams of 1 to 4 lite convolutions see 3 to 9 pixels, gated and summed, beside a shortcut."""

    def __init__(self, before: int, after: int, instance: bool = False) -> None:
        super().__init__()
        inner = after // 4
        self.conv1 = conv_norm(before, inner)
        self.conv2a = lite_conv(inner)
        self.conv2b = nn.Sequential(*(lite_conv(inner) for _ in range(2)))
        self.conv2c = nn.Sequential(*(lite_conv(inner) for _ in range(3)))
        self.conv2d = nn.Sequential(*(lite_conv(inner) for _ in range(4)))
        self.gate = ChannelGate(inner)
        self.conv3 = conv_norm(inner, after, relu=False)
        self.downsample = conv_norm(before, after, relu=False) if before != after else nn.Identity()
        self.IN = nn.InstanceNorm2d(after, affine=True) if instance else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """B x before x H x W -> B x after x H x W."""
        squeezed = self.conv1(x)
        gated = self.gate(self.conv2a(squeezed)) + self.gate(self.conv2b(squeezed))
        gated = gated + self.gate(self.conv2c(squeezed)) + self.gate(self.conv2d(squeezed))
        return functional.relu(self.IN(self.conv3(gated) + self.downsample(x)))


class OSNet(nn.Module):
    """A stem, three stages of two blocks, a feature of 512 numbers, a classifier.

    Args:
        in_channels: channels of an image.
        num_classes: identities of the training set; 0: no classifier.
        width: factor of the channels.
        instance: instance normalisation in the stem and the first stage (Zhou et al., 2019: OSNet-IBN), against differences
            of style between data sets.
    """

    def __init__(self, in_channels: int, num_classes: int, width: float = 1.0, instance: bool = False) -> None:
        super().__init__()
        stem, first, second, third = (int(width * channels) for channels in (64, 256, 384, 512))
        self.feature_dim = 512
        self.conv1 = conv_norm(in_channels, stem, 7, stride=2, instance=instance)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = _stage(stem, first, halve=True, instance=instance)
        self.conv3 = _stage(first, second, halve=True)
        self.conv4 = _stage(second, third, halve=False)
        self.conv5 = conv_norm(third, third)
        self.fc = nn.Sequential(nn.Linear(third, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True))
        self.classifier = nn.Linear(512, num_classes) if num_classes else None
        self.trained_by = {"logits": "add cross_entropy to LOSS.TERMS, or set MODEL.ARGS {classifier: false}"}
        if self.classifier is None:
            self.trained_by = {}
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def features(self, image: Tensor) -> Tensor:
        """B x C x H x W -> the map, B x (512 x width) x H / 16 x W / 16."""
        return self.conv5(self.conv4(self.conv3(self.conv2(self.maxpool(self.conv1(image))))))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """B x C x H x W (256 x 128 in the paper) -> "embedding" and "feature" (the same), B x 512, and, with a classifier,
        "logits" B x num_classes."""
        feature = self.fc(self.features(image).mean(dim=(2, 3)))
        found = {"embedding": feature, "feature": feature}
        return found if self.classifier is None else {**found, "logits": self.classifier(feature)}


def _stage(before: int, after: int, halve: bool, instance: bool = False) -> nn.Module:
    blocks = [OmniScaleBlock(before, after, instance), OmniScaleBlock(after, after, instance)]
    return nn.Sequential(*blocks, *([nn.Sequential(conv_norm(after, after), nn.AvgPool2d(2))] if halve else []))


@MODELS.register("osnet_x1_0")
def osnet_x1_0(*, in_channels: int, num_classes: int, classifier: bool = True) -> nn.Module:
    """2.2 million parameters without the classifier."""
    return OSNet(in_channels, num_classes if classifier else 0, 1.0)


@MODELS.register("osnet_x0_75")
def osnet_x0_75(*, in_channels: int, num_classes: int, classifier: bool = True) -> nn.Module:
    """Three quarters of the channels, 1.3 million parameters."""
    return OSNet(in_channels, num_classes if classifier else 0, 0.75)


@MODELS.register("osnet_x0_5")
def osnet_x0_5(*, in_channels: int, num_classes: int, classifier: bool = True) -> nn.Module:
    """Half the channels, 0.6 million parameters."""
    return OSNet(in_channels, num_classes if classifier else 0, 0.5)


@MODELS.register("osnet_x0_25")
def osnet_x0_25(*, in_channels: int, num_classes: int, classifier: bool = True) -> nn.Module:
    """A quarter of the channels, 0.2 million parameters."""
    return OSNet(in_channels, num_classes if classifier else 0, 0.25)


@MODELS.register("osnet_ibn_x1_0")
def osnet_ibn_x1_0(*, in_channels: int, num_classes: int, classifier: bool = True) -> nn.Module:
    """With instance normalisation, 2.2 million parameters."""
    return OSNet(in_channels, num_classes if classifier else 0, 1.0, instance=True)
