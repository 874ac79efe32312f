"""Activation checkpointing changes memory and time, and nothing else: weights and statistics are equal to the last bit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from test_ranks_agree import launch, weights
from torch import nn

from config import load_file
from modeling import build_model
from modeling.blocks import find_blocks
from utils.errors import UserError


def build(name: str, checkpointing: bool, drop_path: float) -> nn.Module:
    torch.manual_seed(0)
    keys = {"NAME": name, "ACTIVATION_CHECKPOINTING": str(checkpointing), "DROP_PATH": str(drop_path)}
    words = [(f"MODEL.{key}", value) for key, value in keys.items()]
    return build_model(load_file(None, words), in_channels=3, num_classes=4, image_size=(32, 32))


def trained(name: str, checkpointing: bool, drop_path: float, steps: int = 2) -> dict[str, torch.Tensor]:
    """The state dict after some steps, with dropped paths."""
    model = build(name, checkpointing, drop_path)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(steps):
        image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        model(image).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


MODELS = [
    ("resnet20", 0.3),
    ("example_model", 0.5),
    ("torchvision/resnet18", 0.0),
    pytest.param("torchvision/convnext_tiny", 0.2, marks=pytest.mark.slow),
    pytest.param("torchvision/efficientnet_b0", 0.3, marks=pytest.mark.slow),
    pytest.param("torchvision/swin_t", 0.1, marks=pytest.mark.slow),
    ("timm/resnet18", 0.1),
    ("timm/vit_tiny_patch16_224", 0.1),
    pytest.param("timm/efficientnet_b0", 0.1, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "drop_path"), MODELS)
def test_checkpointing_changes_no_bit(name: str, drop_path: float) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    plain, saved = trained(name, False, drop_path), trained(name, True, drop_path)
    assert plain.keys() == saved.keys()
    for key, value in plain.items():
        assert torch.equal(value, saved[key]), key


def test_it_changes_no_bit_in_bf16_either() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain, saved = trained("resnet20", False, 0.3), trained("resnet20", True, 0.3)
    assert all(torch.equal(value, saved[key]) for key, value in plain.items())


def test_a_copy_of_the_model_leaves_the_model_alone() -> None:
    model = build("example_model", True, 0.0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copy.deepcopy(model).train()(torch.ones(4, 3, 8, 8)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_it_changes_no_bit_on_two_ranks_either(tmp_path: Path) -> None:
    words = ["MODEL.NAME", "example_model", "MODEL.DROP_PATH", "0.3", "SOLVER.MAX_EPOCHS", "1", "SOLVER.ACCUMULATE", "2"]
    plain = weights(launch(tmp_path / "plain", *words, ranks=2))
    saved = weights(launch(tmp_path / "saved", *words, "MODEL.ACTIVATION_CHECKPOINTING", "true", ranks=2))
    assert all(torch.equal(value, saved[key]) for key, value in plain.items())


@pytest.mark.slow
def test_compiled_models_count_each_batch_once_as_well() -> None:
    states = []
    for checkpointing in (False, True):
        model = build("example_model", checkpointing, 0.0)
        model.compile(backend="aot_eager")
        for _ in range(2):
            model(torch.ones(4, 3, 8, 8)).square().mean().backward()
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_activations_within_blocks_are_not_kept() -> None:
    def kept(checkpointing: bool) -> int:
        model, sizes = build("resnet20", checkpointing, 0.0), []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(torch.randn(2, 3, 32, 32))
        return sum(sizes)

    assert kept(True) < kept(False) / 3


def test_batch_normalisation_counts_each_batch_once() -> None:
    state = trained("resnet20", True, 0.0, steps=3)
    counters = [value.item() for name, value in state.items() if name.endswith("num_batches_tracked")]
    assert counters == [3] * 19


def test_a_model_without_blocks_is_an_error() -> None:
    with pytest.raises(UserError, match="lenet has no blocks to checkpoint"):
        build("lenet", True, 0.0)
    assert len(find_blocks(build("resnet20", False, 0.0))) == 9
