"""Schedules are literal lists, groups are what the keys say, averages come back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from config import load_file
from modeling import build_loss, build_model, load_weights
from solver import ModelEMA, ModelSWA, make_lr_scheduler, make_optimizer, set_lr
from utils.errors import UserError


def rates(steps: int, **keys: str) -> list[float]:
    """The rate at each step, BASE_LR 1."""
    words = [(f"SOLVER.{key}", value) for key, value in {"BASE_LR": "1", **keys}.items()]
    schedule = make_lr_scheduler(load_file(None, words), total_steps=steps)
    return [round(schedule(step), 4) for step in range(steps)]


def test_schedules_are_these_values() -> None:
    assert rates(3) == [1, 1, 1]
    assert rates(6, STEPS="[2, 4]", GAMMA="0.1") == [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert rates(4, SCHEDULE="cosine") == [1.0, 0.8536, 0.5, 0.1464]
    assert rates(5, WARMUP_ITERS="2", WARMUP_FACTOR="0.5") == [0.5, 0.75, 1, 1, 1]
    assert rates(4, WARMUP_ITERS="2", WARMUP_FACTOR="0.5", WARMUP_METHOD="constant") == [0.5, 0.5, 1, 1]
    assert rates(6, SCHEDULE="one_cycle", WARMUP_ITERS="2", WARMUP_FACTOR="0") == [0, 0.5, 1, 0.75, 0.5, 0.25]
    assert rates(4, SCHEDULE="polynomial") == [1, 0.75, 0.5, 0.25]
    assert rates(4, SCHEDULE="polynomial", POWER="2") == [1, 0.5625, 0.25, 0.0625]
    assert rates(4, SCHEDULE="polynomial", WARMUP_ITERS="1", WARMUP_FACTOR="0.5") == [0.5, 0.75, 0.5, 0.25]
    assert rates(4, SCHEDULE="exponential", GAMMA="0.0001") == [1, 0.1, 0.01, 0.001]
    assert rates(2, SCHEDULE="plateau") == [1, 1]
    with pytest.raises(UserError, match="GAMMA 1 does not lower the rate"):
        rates(2, SCHEDULE="plateau", GAMMA="1")


def net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))


def test_groups_follow_the_keys() -> None:
    words = [("SOLVER.BIAS_LR_FACTOR", "2"), ("SOLVER.WEIGHT_DECAY", "0.1"), ("SOLVER.PARAM_GROUPS", "[['3.*', 10, 0.5]]")]
    optimizer = make_optimizer(load_file(None, words), net())
    found = {g["name"]: (len(g["params"]), g["lr_factor"], g["weight_decay"]) for g in optimizer.param_groups}
    assert found == {"weight": (1, 1, 0.1), "bias": (2, 2, 0), "norm": (1, 1, 0), "3.*": (2, 10, 0.5)}
    set_lr(optimizer, 0.5)
    assert sorted(g["lr"] for g in optimizer.param_groups) == [0.5, 0.5, 1.0, 5.0]


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "Rprop", "Adadelta"])
def test_any_optimizer_of_torch_steps(name: str) -> None:
    module = net()
    optimizer = make_optimizer(load_file(None, [("SOLVER.OPTIMIZER_NAME", name)]), module)
    before = module[3].weight.detach().clone()  # type: ignore[index]
    module(torch.ones(4, 1, 3, 3)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(before, module[3].weight)  # type: ignore[index]


def test_ema_is_the_average_and_swaps_back() -> None:
    module = nn.Linear(1, 1, bias=False)
    ema = ModelEMA(module, 0.5)
    start = module.weight.item()
    with torch.no_grad():
        module.weight.add_(1)
    ema.update()  # the first update has decay 1/10
    with ema.swap():
        assert module.weight.item() == pytest.approx(start + 0.9)
    assert module.weight.item() == pytest.approx(start + 1)
    other = ModelEMA(nn.Linear(1, 1, bias=False), 0.5)
    other.load_state_dict(ema.state_dict())
    assert other.updates == 1


class Tied(nn.Module):
    """Two layers of one weight, and batch normalisation, which counts."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
        self.other.weight = self.one.weight
        self.norm = nn.BatchNorm1d(3)


def test_tied_weights_have_one_average_and_swap_back() -> None:
    module = Tied()
    ema = ModelEMA(module, 0.5)
    average, own = module.one.weight.detach().clone(), {}
    for step in range(3):
        module.one.weight.data.add_(1)
        ema.update()
        average.lerp_(module.one.weight.detach(), 1 - min(0.5, (1 + step) / (10 + step)))
        own = {name: value.clone() for name, value in module.state_dict().items()}
        with ema.swap():
            assert torch.equal(module.one.weight, average) and module.other.weight is module.one.weight
        assert all(torch.equal(value, own[name]) for name, value in module.state_dict().items())
    saved = ema.state_dict()["average"]
    assert saved["one.weight"] is saved["other.weight"] and torch.equal(saved["one.weight"], average)
    resumed = ModelEMA(Tied(), 0.5)
    resumed.load_state_dict({"updates": 3, "average": {**saved, "other.weight": own["other.weight"]}})  # of before, swapped
    resumed.module.load_state_dict(own)
    ema.update()
    resumed.update()
    assert all(torch.equal(saved[name], value) for name, value in resumed.state_dict()["average"].items())


@pytest.mark.parametrize("change", ["none", "loaded", "moved", "replaced", "made when asked"])
def test_an_average_follows_the_weights_that_the_module_has_now(change: str) -> None:
    """To the last bit what each tensor of the state would average to by itself."""
    torch.manual_seed(0)
    module = net() if change != "made when asked" else nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    if change == "made when asked":
        module._register_state_dict_hook(lambda _, state, *__: state.update({n: v * 1 for n, v in state.items()}))
    ema = ModelEMA(module, 0.9)
    oracle = {name: value.clone() for name, value in module.state_dict().items()}
    for step in range(3):
        if change == "loaded":
            module.load_state_dict({name: value * 2 for name, value in module.state_dict().items()})
        elif change == "moved":
            module.to(torch.float64).to(torch.float32)
        elif change == "replaced":
            for name, parameter in list(module.named_parameters()):
                owner = module.get_submodule(name.rpartition(".")[0])
                setattr(owner, name.rpartition(".")[2], nn.Parameter(parameter.detach() + 1))
        with torch.no_grad():
            for value in (*module.parameters(), *module.buffers()):
                value.add_(1)
        ema.update()
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                oracle[name].lerp_(value, 1 - min(0.9, (1 + step) / (10 + step)))
            else:
                oracle[name].copy_(value)
        assert all(torch.equal(value, oracle[name]) for name, value in ema.state_dict()["average"].items())


def test_swa_is_the_mean_of_the_last_epochs_and_swaps_back() -> None:
    module = nn.BatchNorm1d(1)
    average = ModelSWA(module)
    with average.swap():
        assert module.weight.item() == 1  # no average yet
    for epoch, value in enumerate((5.0, 1.0, 2.0, 6.0), start=1):
        with torch.no_grad():
            module.weight.fill_(value)
            module.running_mean.fill_(10 * value)  # type: ignore[union-attr]
            module.num_batches_tracked.fill_(epoch)  # type: ignore[union-attr]
        average.update()
        average.collect(epoch, first=2 if epoch > 1 else 1)
    with average.swap():
        assert [v.item() for v in module.state_dict().values()] == pytest.approx([3.0, 0.0, 30.0, 1.0, 4])
    assert module.weight.item() == 6
    other = ModelSWA(nn.BatchNorm1d(1))
    other.load_state_dict(average.state_dict())
    assert other.epochs == [2, 3, 4]
    with other.swap():
        assert other.module.weight.item() == pytest.approx(3)  # type: ignore[operator]


def test_losses_agree_with_torch_and_add_up_over_micro_batches() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(12, 4), torch.arange(12) % 4
    plain = build_loss(load_file(None, [("LOSS.LABEL_SMOOTHING", "0.1")]), num_classes=4)
    oracle = nn.functional.cross_entropy(logits, target, label_smoothing=0.1)
    assert torch.allclose(plain(logits, {"target": target})["loss"], oracle)
    weighted = build_loss(load_file(None, [("LOSS.CLASS_WEIGHTS", "[1, 2, 3, 4]")]), num_classes=4)
    whole = weighted(logits, {"target": target})["loss"]
    parts = [weighted(logits[a:b], {"target": target[a:b]})["loss"] * (b - a) for a, b in ((0, 5), (5, 12))]
    assert torch.allclose(whole, torch.stack(parts).sum() / 12)
    assert weighted(logits[:0], {"target": target[:0]})["loss"].item() == 0


def test_resnet20_is_the_paper_s() -> None:
    model = build_model(load_file(None, [("MODEL.NAME", "resnet20")]), in_channels=3, num_classes=10, image_size=(32, 32))
    assert sum(p.numel() for p in model.parameters()) == 269_722
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", ["softmax", "mlp", "lenet", "example_model", "resnet20", "torchvision/squeezenet1_1"])
def test_models_take_grey_and_colour(name: str) -> None:
    size = 64 if "/" in name else 28
    for channels in (1, 3):
        model = build_model(
            load_file(None, [("MODEL.NAME", name)]), in_channels=channels, num_classes=7, image_size=(size, size)
        )
        assert model(torch.zeros(2, channels, size, size)).shape == (2, 7)


def test_weights_that_do_not_fit_are_named() -> None:
    model, other = nn.Linear(3, 2), nn.Linear(3, 4)
    with pytest.raises(UserError, match="no weight matches"):
        load_weights(model, {"other.weight": torch.zeros(2)})
    with pytest.raises(UserError, match="2 reshaped|no weight matches"):
        load_weights(model, other.state_dict())
    mixed = {"weight": torch.ones(2, 3), "extra": torch.zeros(1)}
    with pytest.raises(UserError, match=r"1 missing \(bias\), 1 unexpected \(extra\)"):
        load_weights(model, mixed)
    report = load_weights(model, mixed, allow=["bias", "ex*"])
    assert report.matched == ["weight"] and torch.equal(model.weight, torch.ones(2, 3))
