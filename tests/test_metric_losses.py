"""Losses of retrieval against their papers' formulas, written out as loops; what changes nothing; and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import TINY
from torch import Tensor, nn

from config import load_file
from modeling import build_loss
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
CLASSES, DIM = 5, 6
RNG = torch.Generator().manual_seed(0)
FEATURES = torch.randn(12, DIM, generator=RNG)
TARGET = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4])  # class 4 has one image
WEIGHT = torch.randn(CLASSES, DIM, generator=RNG)
METRIC = ["triplet", "circle", "center", "arcface", "cosface"]


class Model(nn.Module):
    """What a loss asks of a model."""

    feature_dim = DIM


def loss_of(name: str, **args: Any) -> nn.Module:
    words = ", ".join(f"{key}: {value}" for key, value in args.items())
    loss = build_loss(load_file(None, [("LOSS.NAME", name), ("LOSS.ARGS", f"{{{words}}}")]), num_classes=CLASSES, model=Model())
    for values in loss.state_dict().values():  # a classifier's weights, or centres
        values.copy_(WEIGHT)
    return loss


def value_of(loss: nn.Module, features: Tensor, target: Tensor) -> Tensor:
    value: Tensor = loss({"embedding": features, "feature": features}, {"target": target})["loss"]
    return value


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / (a.norm() * b.norm())


def triplet_loop(x: Tensor, y: Tensor, margin: float, distance: str) -> Tensor:
    def between(i: int, j: int) -> Tensor:
        return (x[i] - x[j]).norm() if distance == "euclidean" else 1 - cosine(x[i], x[j])

    total = x.sum() * 0
    for i in range(len(x)):
        same = [between(i, j) for j in range(len(x)) if j != i and y[j] == y[i]]
        others = [between(i, j) for j in range(len(x)) if y[j] != y[i]]
        if same and others:
            gap = torch.stack(same).max() - torch.stack(others).min()
            total = total + ((1 + gap.exp()).log() if margin == 0 else (gap + margin).clamp(min=0))
    return total / len(x)


def circle_loop(x: Tensor, y: Tensor, margin: float, gamma: float) -> Tensor:
    total = x.sum() * 0
    for i in range(len(x)):
        same = [cosine(x[i], x[j]) for j in range(len(x)) if j != i and y[j] == y[i]]
        others = [cosine(x[i], x[j]) for j in range(len(x)) if y[j] != y[i]]
        if same and others:
            near = torch.stack([(gamma * max(s.item() + margin, 0) * (s - margin)).exp() for s in others]).sum()
            far = torch.stack([(-gamma * max(1 + margin - s.item(), 0) * (s - 1 + margin)).exp() for s in same]).sum()
            total = total + (1 + near * far).log()
    return total / len(x)


def center_loop(x: Tensor, y: Tensor) -> Tensor:
    return torch.stack([(x[i] - WEIGHT.to(x)[y[i]]).square().sum() / 2 for i in range(len(x))]).mean()


def margin_loop(x: Tensor, y: Tensor, scale: float, harder: Callable[[Tensor], Tensor]) -> Tensor:
    terms = []
    for i in range(len(x)):
        logits = [cosine(x[i], row) for row in WEIGHT.to(x)]
        logits[y[i]] = harder(logits[y[i]])
        terms.append(-(scale * torch.stack(logits)).log_softmax(dim=0)[y[i]])
    return torch.stack(terms).mean()


ORACLES: list[tuple[str, dict[str, Any], Callable[[Tensor, Tensor], Tensor]]] = [
    *(
        ("triplet", {"margin": margin, "distance": distance}, lambda x, y, m=margin, d=distance: triplet_loop(x, y, m, d))
        for margin in (0.0, 0.3)
        for distance in ("euclidean", "cosine")
    ),
    ("circle", {"gamma": 8, "margin": 0.25}, lambda x, y: circle_loop(x, y, 0.25, 8)),
    ("circle", {"gamma": 64, "margin": 0.4}, lambda x, y: circle_loop(x, y, 0.4, 64)),
    ("center", {}, center_loop),
    ("cosface", {"scale": 30, "margin": 0.35}, lambda x, y: margin_loop(x, y, 30, lambda c: c - 0.35)),
    ("arcface", {"scale": 16, "margin": 0.2}, lambda x, y: margin_loop(x, y, 16, lambda c: (c.acos() + 0.2).cos())),
]


@pytest.mark.parametrize(
    ("name", "args", "oracle"), ORACLES, ids=[f"{n}-{'-'.join(map(str, a.values()))}" for n, a, _ in ORACLES]
)
def test_values_and_gradients_are_the_paper_s(name: str, args: dict[str, Any], oracle: Callable[..., Tensor]) -> None:
    ours, exact = FEATURES.clone().requires_grad_(), FEATURES.double().requires_grad_()
    value, expected = value_of(loss_of(name, **args), ours, TARGET), oracle(exact, TARGET)
    assert value.item() == pytest.approx(expected.item(), rel=1e-4) and value.item() > 0
    value.backward()
    expected.backward()
    assert ours.grad is not None and exact.grad is not None
    assert torch.allclose(ours.grad.double(), exact.grad, rtol=1e-3, atol=1e-4 * exact.grad.abs().max().item())


def test_arcface_falls_with_the_angle_also_beyond_half_a_turn() -> None:
    loss = loss_of("arcface", margin=0.5, scale=4)
    angles = torch.linspace(0, math.pi, 50)
    first = WEIGHT[0] / WEIGHT[0].norm()
    other = nn.functional.normalize(WEIGHT[1] - (WEIGHT[1] @ first) * first, dim=0)
    features = angles.cos()[:, None] * first + angles.sin()[:, None] * other
    right = loss.head(features, torch.zeros(50, dtype=torch.long))[:, 0]  # type: ignore[operator]
    assert bool((right.diff() < 0).all())


def test_margins_of_0_are_the_plain_classifier_on_the_sphere() -> None:
    plain = margin_loop(FEATURES, TARGET, 64, lambda c: c)
    for name in ("arcface", "cosface"):
        assert value_of(loss_of(name, margin=0.0), FEATURES, TARGET).item() == pytest.approx(plain.item(), rel=1e-4)


@pytest.mark.parametrize("name", METRIC)
def test_losses_do_not_depend_on_the_order_of_a_batch(name: str) -> None:
    order = torch.randperm(len(TARGET), generator=torch.Generator().manual_seed(1))
    whole = value_of(loss_of(name), FEATURES, TARGET)
    assert torch.allclose(whole, value_of(loss_of(name), FEATURES[order], TARGET[order]), rtol=1e-5)


@pytest.mark.parametrize("name", ["triplet", "circle"])
def test_comparing_losses_depend_on_neither_names_nor_axes(name: str) -> None:
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=RNG)).Q
    whole = value_of(loss_of(name), FEATURES, TARGET)
    assert torch.allclose(whole, value_of(loss_of(name), FEATURES, 7 - TARGET), rtol=1e-5)
    assert torch.allclose(whole, value_of(loss_of(name), FEATURES @ turn, TARGET), rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "args"), [("circle", {}), ("arcface", {}), ("cosface", {}), ("triplet", {"distance": "cosine"})]
)
def test_losses_by_angle_do_not_depend_on_length(name: str, args: dict[str, Any]) -> None:
    whole = value_of(loss_of(name, **args), FEATURES, TARGET)
    assert torch.allclose(whole, value_of(loss_of(name, **args), 3 * FEATURES, TARGET), rtol=1e-4)


@pytest.mark.parametrize("name", ["center", "arcface", "cosface"])
def test_micro_batches_add_up_by_their_samples(name: str) -> None:
    loss = loss_of(name)
    parts = [value_of(loss, FEATURES[a:b], TARGET[a:b]) * (b - a) for a, b in ((0, 5), (5, 12))]
    assert torch.allclose(torch.stack(parts).sum() / 12, value_of(loss, FEATURES, TARGET), rtol=1e-5)


@pytest.mark.parametrize("name", ["triplet", "circle"])
def test_images_without_a_partner_count_0_in_the_mean(name: str) -> None:
    """A micro-batch weighs as much as it has samples: so the mean is over all of them, whoever has a partner."""
    ones = value_of(loss_of(name), FEATURES[:6], TARGET[:6])
    far = torch.cat([FEATURES[:6], -1e4 * FEATURES[:6].mean(dim=0, keepdim=True)])
    if name == "triplet":
        assert value_of(loss_of(name), far, TARGET[[*range(6), 11]]).item() == pytest.approx(ones.item() * 6 / 7, rel=1e-3)
    alone = value_of(loss_of(name), FEATURES[:4], torch.tensor([0, 1, 2, 3]))
    assert alone.item() == 0


def test_centres_move_by_the_paper_s_rule_whatever_the_parts_of_a_step() -> None:
    losses: list[Any] = [loss_of("center", alpha=0.3) for _ in range(4)]
    whole, parts, ranks, other = losses
    wanted = list(WEIGHT.double())
    for features in (FEATURES, FEATURES.flip(1)):
        for j in range(CLASSES):
            own = features[TARGET.eq(j)]
            wanted[j] = wanted[j] + 0.3 * (own - wanted[j]).sum(dim=0) / (1 + len(own))
        value_of(whole, features, TARGET)
        for rows in (slice(0, 5), slice(5, 12)):
            value_of(parts, features[rows], TARGET[rows])
        value_of(ranks, features[:5], TARGET[:5])
        with torch.no_grad():
            value_of(parts.eval(), features, TARGET)  # a validation moves nothing
        parts.train()({"embedding": features}, {"target": TARGET, "index": TARGET[:0]})  # and neither does a stand-in
        other.load_state_dict(ranks.state_dict())
        value_of(other, features[5:], TARGET[5:])
        others = iter([other.sums, other.counts])
        ranks.end_step(lambda part, others=others: part.add_(next(others)))
        for loss in (whole, parts, other):
            loss.end_step(lambda part: part)
        assert all(torch.allclose(loss.centers.double(), torch.stack(wanted), atol=1e-6) for loss in (whole, parts, ranks))
    assert list(whole.state_dict()) == ["centers"] and not list(whole.parameters())


@pytest.mark.parametrize("name", ["triplet", "circle"])
def test_a_copy_of_an_image_is_no_pair(name: str) -> None:
    """A sampler that fills an identity up repeats its images."""
    rows, index = [0, 1, 1, 3, 4, 11, 11], torch.tensor([0, 1, 1, 3, 4, 11, 11])
    augmented = FEATURES[rows] + 5.0 * torch.tensor([0, 0, 1, 0, 0, 0, 1])[:, None]  # copies are seen anew: they lie apart
    batch = {"target": TARGET[rows], "index": index}
    value = loss_of(name)({"embedding": augmented}, batch)["loss"]
    assert value.isfinite() and value > 0 and not torch.allclose(value, value_of(loss_of(name), augmented, TARGET[rows]))
    only = {"target": TARGET[[3, 11, 11]], "index": torch.tensor([3, 11, 11])}
    assert loss_of(name)({"embedding": augmented[[3, 5, 6]]}, only)["loss"] == 0


@pytest.mark.parametrize("name", METRIC)
@pytest.mark.parametrize("count", [0, 1])
def test_batches_without_pairs_have_a_finite_loss_and_gradient(name: str, count: int) -> None:
    features, loss = FEATURES[:count].clone().requires_grad_(), loss_of(name)
    value = value_of(loss, features, TARGET[:count])
    value.backward()
    assert value.item() == 0 or (count == 1 and name not in ("triplet", "circle"))
    assert features.grad is not None and bool(features.grad.isfinite().all())
    assert all(p.grad is not None for p in loss.parameters())  # DDP waits for each


@pytest.mark.parametrize("name", METRIC)
def test_equal_images_have_finite_gradients(name: str) -> None:
    features = FEATURES[:1].repeat(4, 1).requires_grad_()
    loss = loss_of(name)
    for values in loss.state_dict().values():
        values[0] = FEATURES[0]
    value_of(loss, features, torch.tensor([0, 0, 1, 1])).backward()
    assert features.grad is not None and bool(features.grad.isfinite().all())


@pytest.mark.parametrize("name", METRIC)
def test_autocast_takes_no_digits_from_a_loss(name: str) -> None:
    plain = value_of(loss_of(name), FEATURES, TARGET)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(value_of(loss_of(name), FEATURES, TARGET), plain)
        half = value_of(loss_of(name), FEATURES.bfloat16(), TARGET)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(plain.item(), rel=0.1)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "binary"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_loss_of_several_heads_is_their_mean(name: str, soft: bool) -> None:
    loss = build_loss(load_file(None, [("LOSS.NAME", name)]), num_classes=CLASSES)
    heads = torch.randn(12, 3, CLASSES, generator=RNG)
    target = nn.functional.one_hot(TARGET, CLASSES).float() * 0.8 + 0.04 if soft else TARGET
    alone = [loss(heads[:, n], {"target": target})["loss"] for n in range(3)]
    assert torch.allclose(loss({"logits": heads}, {"target": target})["loss"], torch.stack(alone).mean())


def test_metric_losses_take_heads_as_well() -> None:
    heads = torch.stack([FEATURES, FEATURES.flip(0)], dim=1)
    for name in ("triplet", "circle", "center"):
        alone = [value_of(loss_of(name), heads[:, n], TARGET) for n in (0, 1)]
        assert torch.allclose(value_of(loss_of(name), heads, TARGET), torch.stack(alone).mean())


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("triplet", {"margn": 1}, "no argument 'margn'; did you mean margin"),
        ("triplet", {"margin": -1}, "margin: has to be 0 or more"),
        ("triplet", {"margin": "wide"}, "margin has to be a number, not 'wide'"),
        ("triplet", {"margin": "true"}, "margin has to be a number, not True"),
        ("triplet", {"distance": "cosin"}, "unknown 'cosin'; did you mean cosine"),
        ("circle", {"gamma": 0}, "gamma: has to be"),
        ("circle", {"margin": 2}, "margin: has to be 0 to 1"),
        ("arcface", {"margin": 2}, "margin: has to be 0 to 1.57"),
        ("cosface", {"scale": -3}, "scale: has to be"),
        ("center", {"feature_dim": 3}, "no argument 'feature_dim'"),
        ("center", {"alpha": 2}, "the loss center: alpha: has to be 0 to 1"),
    ],
)
def test_arguments_that_do_not_fit_are_one_line(name: str, args: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        loss_of(name, **args)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", METRIC)
def test_a_model_without_features_is_refused_before_training(name: str, train: Train) -> None:
    code, error, _ = train(*TINY, "LOSS.TERMS", f"[[cross_entropy, 1], [{name}, 1]]")
    assert code == 2 and f"the loss {name} needs a model that gives features, such as MODEL.NAME embedding; mlp" in error
