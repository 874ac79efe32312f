"""The shelf of models and losses: sizes, stochastic depth, grey images with RGB weights, losses against their formulas."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, newest, read_json
from torch import Tensor, nn
from torch.nn import functional

from config import load_file
from modeling import build_loss, build_model, load_state_file, load_weights
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]


def model_of(name: str, *, channels: int = 3, size: int = 32, classes: int = 4, **keys: str) -> nn.Module:
    words = [(f"MODEL.{key}", value) for key, value in {"NAME": name, **keys}.items()]
    return build_model(load_file(None, words), in_channels=channels, num_classes=classes, image_size=(size, size))


def loss_of(name: str, classes: int = 4, **keys: str) -> nn.Module:
    words = [(f"LOSS.{key}", value) for key, value in {"NAME": name, **keys}.items()]
    return build_loss(load_file(None, words), num_classes=classes)


@pytest.mark.parametrize(
    ("name", "count"), [("resnet32", 464_154), ("resnet44", 658_586), ("resnet56", 853_018), ("resnet110", 1_727_962)]
)
def test_the_residual_networks_for_cifar_have_the_paper_s_sizes(name: str, count: int) -> None:
    assert sum(p.numel() for p in model_of(name, classes=10).parameters()) == count


@pytest.mark.parametrize("name", ["timm/resnet18", "timm/convnext_atto", "timm/vit_tiny_patch16_224"])
@pytest.mark.parametrize("channels", [1, 3])
def test_timm_models_take_the_data_as_it_is(name: str, channels: int) -> None:
    pytest.importorskip("timm")
    model = model_of(name, channels=channels, size=32, classes=7).eval()
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, 7)


def test_a_timm_model_trains_and_tests_by_its_name(train: Train, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    import test_net

    keys = ["MODEL.NAME", "timm/test_resnet", "MODEL.DROP_PATH", "0.1", "MODEL.ACTIVATION_CHECKPOINTING", "true"]
    code, log, _ = train(*TINY, *keys, "SOLVER.MAX_EPOCHS", "1", "SOLVER.LAYER_DECAY", "0.8")
    assert code == 0, log
    run = newest(tmp_path / "exp")
    before = read_json(run / "test.json")["metrics"]
    assert train(run.name, main=test_net.main)[0] == 0 and read_json(run / "test.json")["metrics"] == before


def test_what_timm_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match="did you mean convnext_tiny"):
        model_of("timm/convnext_tinny")
    with pytest.raises(UserError, match="timm/vgg11 has no stochastic depth"):
        model_of("timm/vgg11", DROP_PATH="0.1")
    real = builtins.__import__

    def absent(name: str, *args: Any) -> Any:
        if name == "timm":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match="`make` installs it"):
        model_of("timm/resnet18")


def test_drop_path_reaches_the_blocks_of_every_kind_of_model() -> None:
    from torchvision.models import convnext_tiny

    def rates(model: nn.Module, attribute: str) -> list[float]:
        kinds = ("DropPath", "StochasticDepth")
        return [float(getattr(m, attribute)) for m in model.modules() if type(m).__name__ in kinds]

    own = rates(model_of("resnet20", DROP_PATH="0.8"), "rate")
    assert own == pytest.approx([0.1 * i for i in range(9)])
    ours = model_of("torchvision/convnext_tiny", DROP_PATH="0.3")
    theirs = convnext_tiny(stochastic_depth_prob=0.3)
    assert rates(ours, "p") == pytest.approx(rates(theirs, "p")) and max(rates(ours, "p")) == pytest.approx(0.3)
    assert max(rates(model_of("torchvision/swin_t", DROP_PATH="0.5"), "p")) == 0.5
    pytest.importorskip("timm")
    assert max(rates(model_of("timm/convnext_atto", DROP_PATH="0.4"), "drop_prob")) == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["softmax", "lenet", "torchvision/resnet18"])
def test_drop_path_for_a_model_without_it_names_those_with_it(name: str) -> None:
    with pytest.raises(UserError, match=r"MODEL.DROP_PATH: .* (resnet20|convnext_\*)"):
        model_of(name, DROP_PATH="0.1")


def test_drop_path_leaves_out_whole_samples_and_keeps_the_mean() -> None:
    from layers import DropPath

    torch.manual_seed(0)
    x = torch.ones(20000, 2, 1, 1)
    out = DropPath(0.25).train()(x)
    assert sorted(set(out.flatten().tolist())) == [0, pytest.approx(4 / 3)]
    assert torch.equal(out[:, 0], out[:, 1]) and out.mean().item() == pytest.approx(1, abs=0.02)
    assert torch.equal(DropPath(0.25).eval()(x), x)


@pytest.mark.parametrize("name", ["resnet20", "torchvision/resnet18", "timm/resnet18"])
def test_rgb_weights_summed_for_grey_images_give_what_repeated_images_give(name: str) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    rgb, grey = model_of(name, channels=3).eval(), model_of(name, channels=1).eval()
    report = load_weights(grey, rgb.state_dict())
    assert len(report.summed) == 1 and "summed over RGB" in report.text() and not report.reshaped
    image = torch.randn(2, 1, 32, 32)
    assert torch.allclose(grey(image), rgb(image.expand(-1, 3, -1, -1)), atol=1e-4)


def test_weights_come_in_safetensors_files(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    given, model = model_of("resnet20"), model_of("resnet20")
    safetensors.save_file(given.state_dict(), tmp_path / "model.safetensors")
    load_weights(model, load_state_file(tmp_path / "model.safetensors"))
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in model.state_dict().items())
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="no weights that can be read"):
        load_state_file(tmp_path / "broken.safetensors")
    with pytest.raises(UserError, match="no such weights file"):
        load_state_file(tmp_path / "nowhere.safetensors")


def test_other_numbers_of_channels_are_errors() -> None:
    with pytest.raises(UserError, match="1 reshaped"):
        load_weights(model_of("resnet20", channels=2), model_of("resnet20", channels=3).state_dict())
    with pytest.raises(UserError, match="1 reshaped"):
        load_weights(model_of("resnet20", channels=3), model_of("resnet20", channels=1).state_dict())


GREY = [*TINY, "MODEL.NAME", "resnet20", "SOLVER.MAX_EPOCHS", "1"]


def test_grey_images_train_and_test_with_rgb_networks(train: Train, tmp_path: Path) -> None:
    import test_net

    rgb_keys = ["MODEL.IN_CHANNELS", "3", "INPUT.PIXEL_MEAN", "[0.4, 0.5, 0.6]", "INPUT.TRANSFORMS_TRAIN", "[RandomErasing]"]
    code, log, _ = train(*GREY, *rgb_keys, "NAME", "rgb")
    assert code == 0 and "grey, repeated" in log, log
    rgb = newest(tmp_path / "exp")
    best = torch.load(rgb / "weights" / "best.pt", weights_only=True)
    assert best["model"]["stem.0.weight"].shape[1] == 3 and best["preprocessing"]["repeat"] == 3
    before = read_json(rgb / "test.json")["metrics"]
    assert train("rgb", main=test_net.main)[0] == 0 and read_json(rgb / "test.json")["metrics"] == before
    code, log, _ = train(*GREY, "MODEL.WEIGHTS", "rgb", "NAME", "grey")
    assert code == 0 and "stem.0.weight summed over RGB" in log, log
    grey = newest(tmp_path / "exp")
    before = read_json(grey / "test.json")["metrics"]
    assert train("grey", main=test_net.main)[0] == 0 and read_json(grey / "test.json")["metrics"] == before


def test_repeated_channels_are_each_normalised_by_their_own_numbers() -> None:
    from data.prepare import Prepare

    image = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 1.0]
    out = Prepare(mean, std, torch.device("cpu"), repeat=3)({"image": image})["image"]
    expected = (image.expand(-1, 3, -1, -1) / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.allclose(out, expected, atol=1e-6)


@pytest.mark.parametrize(("data", "channels"), [("96x3x8x8x4", "1"), ("96x1x8x8x4", "2"), ("96x2x8x8x4", "3")])
def test_channels_that_cannot_be_made_are_an_error(data: str, channels: str, train: Train) -> None:
    code, error, _ = train(*TINY, "DATASETS.TRAIN", f"synthetic:{data}", "MODEL.IN_CHANNELS", channels)
    assert code == 2 and f"MODEL.IN_CHANNELS is {channels}, the images" in error


LOGITS, TARGET = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 4
ONE_HOT = functional.one_hot(TARGET, 4).float()


def test_focal_is_the_paper_s_formula() -> None:
    p = LOGITS.softmax(dim=1)[range(12), TARGET]
    assert torch.allclose(loss_of("focal")(LOGITS, {"target": TARGET})["loss"], (-((1 - p) ** 2) * p.log()).mean())
    plain = loss_of("focal", FOCAL_GAMMA="0", LABEL_SMOOTHING="0.1")(LOGITS, {"target": TARGET})["loss"]
    assert torch.allclose(plain, functional.cross_entropy(LOGITS, TARGET, label_smoothing=0.1))
    weighted = loss_of("focal", CLASS_WEIGHTS="[1, 2, 3, 4]")(LOGITS, {"target": TARGET})["loss"]
    assert torch.allclose(weighted, (-((TARGET + 1) / 2.5) * (1 - p) ** 2 * p.log()).mean())


def test_focal_has_finite_gradients_where_it_is_sure() -> None:
    logits = torch.tensor([[200.0, -200.0, 0, 0]], requires_grad=True)
    loss_of("focal", FOCAL_GAMMA="0.5")(logits, {"target": torch.tensor([0])})["loss"].backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


def test_binary_agrees_with_torch_for_several_labels() -> None:
    several = (torch.arange(48).view(12, 4) % 3 == 0).float()
    oracle = functional.binary_cross_entropy_with_logits(LOGITS, several)
    assert torch.allclose(loss_of("binary")(LOGITS, {"target": several})["loss"], oracle)
    by_index, by_row = (loss_of("binary")(LOGITS, {"target": t})["loss"] for t in (TARGET, ONE_HOT))
    assert torch.equal(by_index, by_row)
    smooth = loss_of("binary", LABEL_SMOOTHING="0.2")(LOGITS, {"target": TARGET})["loss"]
    assert torch.allclose(smooth, functional.binary_cross_entropy_with_logits(LOGITS, ONE_HOT * 0.8 + 0.05))


def test_mse_compares_values_or_one_hot_rows() -> None:
    assert torch.allclose(loss_of("mse")(LOGITS, {"target": TARGET})["loss"], functional.mse_loss(LOGITS, ONE_HOT))
    values = torch.randn(12)
    oracle = functional.mse_loss(LOGITS[:, 0], values)
    assert torch.allclose(loss_of("mse", classes=1)(LOGITS[:, :1], {"target": values})["loss"], oracle)


@pytest.mark.parametrize("name", ["focal", "binary", "mse"])
@pytest.mark.parametrize("target", [TARGET, ONE_HOT * 0.7 + 0.075], ids=["hard", "soft"])
def test_losses_add_up_over_micro_batches_and_are_0_without_samples(name: str, target: Tensor) -> None:
    loss = loss_of(name, CLASS_WEIGHTS="[1, 2, 3, 4]")
    assert type(loss).soft_targets is True  # type: ignore[attr-defined]
    whole = loss(LOGITS, {"target": target})["loss"]
    parts = [loss(LOGITS[a:b], {"target": target[a:b]})["loss"] * (b - a) for a, b in ((0, 5), (5, 12))]
    assert torch.allclose(whole, torch.stack(parts).sum() / 12)
    assert loss(LOGITS[:0], {"target": target[:0]})["loss"].item() == 0
    assert not torch.allclose(whole, loss_of(name)(LOGITS, {"target": target})["loss"])  # the weights do weigh
    with pytest.raises(UserError, match="needs 4 weights"):
        loss_of(name, CLASS_WEIGHTS="[1, 2]")


@pytest.mark.parametrize("name", ["focal", "binary", "mse"])
def test_losses_train_the_real_thing(name: str, train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*TINY, "LOSS.NAME", name)
    assert code == 0 and read_json(newest(tmp_path / "exp") / "test.json")["metrics"]["test/top1"] > 0.5, log


def test_a_loss_without_label_smoothing_says_so() -> None:
    with pytest.raises(UserError, match="LABEL_SMOOTHING: the loss mse .* binary, .*cross_entropy, focal have it"):
        loss_of("mse", LABEL_SMOOTHING="0.1")
