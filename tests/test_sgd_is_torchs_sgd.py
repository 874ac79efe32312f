"""Our SGD is torch.optim's fused one to the last bit, in its numbers, its state and its checkpoints."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import torch
from conftest import ROOT
from torch import Tensor, nn

from solver.named import NamedOptimizer
from solver.sgd import SGD

KINDS = [
    {"momentum": 0.9, "weight_decay": 0.01},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.5, "dampening": 0.3, "maximize": True},
    {"momentum": 0.0, "weight_decay": 0.1},
]


def pair(arguments: dict[str, Any]) -> list[tuple[nn.Sequential, Any]]:
    """The same model twice, with our optimizer and with torch's, in two groups."""
    made: list[tuple[nn.Sequential, Any]] = []
    kind: Any
    further: dict[str, Any]
    for kind, further in ((SGD, {}), (torch.optim.SGD, {"fused": True})):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(7, 33), nn.Tanh(), nn.Linear(33, 3).double())
        groups: list[dict[str, Any]] = [
            {"params": list(model[0].parameters())},
            {"params": list(model[2].parameters()), "weight_decay": 0.0},
        ]
        made.append((model, kind(groups, lr=0.1, **arguments, **further)))
    return made


def train(model: Any, optimizer: Any, steps: range, frozen: bool = False) -> list[torch.Tensor]:
    """Some steps with a rate of their own; the weights after them."""
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + step)
        x = torch.randn(5, 7, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        model[2](model[1](model[0](x)).double()).square().sum().backward()
        if frozen:
            model[2].bias.grad = None
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("arguments", KINDS)
def test_the_weights_are_equal_bit_for_bit(arguments: dict[str, Any]) -> None:
    (ours, mine), (theirs, torchs) = pair(arguments)
    for a, b in zip(train(ours, mine, range(20)), train(theirs, torchs, range(20)), strict=True):
        assert torch.equal(a, b)


def test_it_takes_parameters_as_torchs_does() -> None:
    model = torch.nn.Linear(3, 2)
    ours, torchs = SGD(model.parameters(), lr=0.1), torch.optim.SGD(model.parameters(), lr=0.1, fused=True)
    assert ours.state_dict()["param_groups"] == torchs.state_dict()["param_groups"]


@pytest.mark.parametrize("arguments", KINDS)
def test_either_goes_on_from_the_others_state(arguments: dict[str, Any]) -> None:
    (ours, mine), (theirs, torchs) = pair(arguments)
    train(ours, mine, range(5)), train(theirs, torchs, range(5))
    one, other = mine.state_dict(), torchs.state_dict()
    assert one["param_groups"] == other["param_groups"]
    for number, state in one["state"].items():
        assert torch.equal(state["momentum_buffer"], other["state"][number]["momentum_buffer"])
    mine.load_state_dict(other), torchs.load_state_dict(one)
    for a, b in zip(train(ours, mine, range(5, 9)), train(theirs, torchs, range(5, 9)), strict=True):
        assert torch.equal(a, b)


def test_a_parameter_that_begins_later_begins_anew() -> None:
    model: Any
    model, optimizer = pair({"momentum": 0.9})[0]
    train(model, optimizer, range(3), frozen=True)
    assert model[2].bias not in optimizer.state
    before = model[2].bias.detach().clone()
    train(model, optimizer, range(3, 4))
    assert torch.equal(before - 0.1 / 4 * model[2].bias.grad, model[2].bias)


def test_found_inf_leaves_the_weights_alone() -> None:
    model: Any
    model, optimizer = pair({"momentum": 0.9})[0]
    before = train(model, optimizer, range(2))
    optimizer.found_inf = torch.ones(())
    assert all(torch.equal(a, b) for a, b in zip(before, train(model, optimizer, range(2, 3)), strict=True))


def test_a_first_step_that_is_left_out_leaves_nothing_for_the_next() -> None:
    (model, optimizer), (other, fresh) = pair({"momentum": 0.9})[0], pair({"momentum": 0.9})[0]
    optimizer.found_inf = torch.ones(())
    train(model, optimizer, range(1))
    optimizer.found_inf = None
    for a, b in zip(train(model, optimizer, range(1, 3)), train(other, fresh, range(1, 3)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_moments_are_laid_out_as_the_parameters_that_they_are_restored_for(name: str) -> None:
    def run(formats: list[torch.memory_format]) -> Tensor:
        torch.manual_seed(0)
        model, state = nn.Conv2d(4, 6, 3), None
        for step, layout in enumerate(formats):
            model = model.to(memory_format=layout)
            optimizer: Any = SGD([{"params": list(model.parameters())}], lr=0.1, momentum=0.9)
            if name == "AdamW":
                optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
            named = NamedOptimizer(optimizer, model)
            if state is not None:
                named.load_state_dict(state)
            image = torch.rand(2, 4, 8, 8, generator=torch.Generator().manual_seed(step)).to(memory_format=layout)
            model(image).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            state = copy.deepcopy(named.state_dict())
        return model.weight.detach()

    planar, mixed = torch.contiguous_format, torch.channels_last
    assert torch.allclose(run([planar, planar]), run([planar, mixed]), atol=1e-4)


def test_a_step_does_not_import_the_compiler() -> None:
    code = (
        "import sys, torch; from solver.sgd import SGD; p = torch.ones(2, requires_grad=True); p.sum().backward();"
        "SGD([{'params': [p]}], momentum=0.9).step(); assert 'torch._dynamo' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
