"""Frozen is frozen, in stages and on ranks; rates follow depth and what is new."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, newest, read_json
from test_ranks_agree import TOLERANCE, launch, weights
from torch import nn

from config import load_file
from modeling import build_model, layer_depths
from modeling.freezing import Freezing
from solver import make_optimizer
from utils.errors import UserError

Train = Callable[..., tuple[int, str, str]]
NET = [*TINY, "MODEL.NAME", "example_model"]


def model_of(name: str, size: int = 32) -> nn.Module:
    return build_model(load_file(None, [("MODEL.NAME", name)]), in_channels=3, num_classes=4, image_size=(size, size))


@pytest.fixture
def base(train: Train, tmp_path: Path) -> Path:
    """A trained run of other classes: its head fits no other."""
    data = ["DATASETS.TRAIN", "synthetic:96x1x8x8x3"]
    code, log, _ = train(*NET, *data, "NAME", "base", "SOLVER.MAX_EPOCHS", "1")
    assert code == 0, log
    return newest(tmp_path / "exp")


START = ["MODEL.WEIGHTS", "base", "MODEL.WEIGHTS_ALLOW", "[head.*]"]


def best_of(run: Path) -> dict[str, torch.Tensor]:
    content: dict[str, Any] = torch.load(run / "weights" / "best.pt", weights_only=True)
    return content["model"]


def test_frozen_weights_and_statistics_stay(base: Path, train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*NET, *START, "MODEL.FREEZE", "[loaded]")
    assert code == 0 and "frozen)" in log, log
    before, after = best_of(base), weights(newest(tmp_path / "exp"))
    for name, value in before.items():
        assert torch.equal(value, after[name]) == (not name.startswith("head")), name


def test_what_is_not_frozen_moves_with_its_statistics(base: Path, train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*NET, *START, "MODEL.FREEZE", "[stem.*, stages.0.*]")
    assert code == 0, log
    before, after = best_of(base), weights(newest(tmp_path / "exp"))
    for name, value in before.items():
        if name.partition(".")[0] in ("stem", "stages"):
            assert torch.equal(value, after[name]) == name.startswith(("stem.", "stages.0.")), name


def test_the_first_stage_ends_after_its_epochs(base: Path, train: Train, tmp_path: Path) -> None:
    code, log, _ = train(*NET, *START, "MODEL.FREEZE", "[loaded]", "MODEL.FREEZE_EPOCHS", "2")
    assert code == 0 and "(296,160 frozen" in log and "epoch 3: " in log, log
    run, before = newest(tmp_path / "exp"), best_of(base)
    second, third = (torch.load(run / "weights" / f"epoch_000{n}.pt", weights_only=True)["model"] for n in (2, 3))
    assert torch.equal(before["stem.0.weight"], second["stem.0.weight"])
    assert torch.equal(before["stem.1.running_mean"], second["stem.1.running_mean"])
    assert not torch.equal(before["stem.0.weight"], third["stem.0.weight"])
    assert not torch.equal(before["stem.1.running_mean"], third["stem.1.running_mean"])


@pytest.mark.slow
def test_ranks_agree_in_both_stages(tmp_path: Path) -> None:
    # an mlp: batch normalisation would see its rank's samples alone
    words = [*TINY, "MODEL.HIDDEN", "[16, 16]", "MODEL.FREEZE", "[1.*, 3.weight]", "MODEL.FREEZE_EPOCHS", "1"]
    words += ["SOLVER.SCHEDULE", "plateau", "SOLVER.PLATEAU_PATIENCE", "1", "SOLVER.PLATEAU_THRESHOLD", "9"]
    words += ["SOLVER.LAYER_DECAY", "0.5", "SOLVER.SWA_EPOCHS", "2"]
    words += ["DISTILL.TEACHER", str(launch(tmp_path / "teacher", "MODEL.NAME", "softmax"))]
    one, two = launch(tmp_path / "one", *words), launch(tmp_path / "two", *words, ranks=2)
    for name, value in weights(one).items():
        assert torch.allclose(value, weights(two)[name], atol=TOLERANCE, rtol=0), name
    assert read_json(two / "test.json")["metrics"]["test/top1"] == read_json(one / "test.json")["metrics"]["test/top1"]
    first = torch.load(two / "weights" / "epoch_0001.pt", weights_only=True)["model"]
    assert not torch.equal(first["1.weight"], weights(two)["1.weight"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["MODEL.FREEZE", "[sten.*]"], "no parameter of the model is called 'sten.*'"),
        (["MODEL.FREEZE", "['*']"], "leaves nothing of the model to train"),
        (["MODEL.FREEZE", "[loaded]"], "loaded means what MODEL.WEIGHTS fills, and it is not set"),
        (["SOLVER.NEW_LR_FACTOR", "10"], "MODEL.WEIGHTS filled none"),
        (["SOLVER.SWA_EPOCHS", "1", "SOLVER.EMA_DECAY", "0.9"], "two averages"),
    ],
)
def test_what_cannot_be_is_said_before_there_is_a_run(words: list[str], said: str, train: Train, tmp_path: Path) -> None:
    code, error, _ = train(*NET, *words)
    assert code == 2 and said in error and not (tmp_path / "exp").exists(), error


def test_everything_loaded_is_nothing_new(base: Path, train: Train) -> None:
    same = ["DATASETS.TRAIN", "synthetic:96x1x8x8x3", "MODEL.WEIGHTS", "base"]
    code, error, _ = train(*NET, *same, "MODEL.FREEZE", "[loaded]")
    assert code == 2 and "leaves nothing of the model to train" in error
    code, error, _ = train(*NET, *same, "SOLVER.NEW_LR_FACTOR", "10")
    assert code == 2 and "every layer was filled" in error


def test_a_name_of_a_run_means_the_same_run_for_ever(base: Path, train: Train, tmp_path: Path) -> None:
    import yaml

    code, log, _ = train(*NET, *START, "MODEL.WEIGHTS", "last", "NAME", "child")
    assert code == 0, log
    written = yaml.safe_load((newest(tmp_path / "exp") / "config.yml").read_text())
    assert written["MODEL"]["WEIGHTS"] == base.name


def test_a_normalisation_is_still_only_if_all_of_it_is_frozen() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, affine=False), nn.BatchNorm1d(2), nn.Linear(2, 2))
    assert Freezing(model, ["0.*", "2.bias"]).norms == ("0",)
    assert Freezing(model, ["[012].*"]).norms == ("0", "1", "2")


@pytest.mark.parametrize(
    ("name", "head", "inner", "stem", "greatest"),
    [
        ("resnet20", "head.weight", "stages.4.conv.weight", "stem.0.weight", 10),
        ("torchvision/resnet18", "fc.weight", "layer1.1.conv1.weight", "conv1.weight", 9),
        ("torchvision/convnext_tiny", "classifier.2.weight", "features.1.1.layer_scale", "features.0.0.weight", 19),
        ("timm/vit_tiny_patch16_224", "head.weight", "blocks.3.attn.qkv.weight", "pos_embed", 13),
        ("lenet", "11.weight", "3.weight", "0.weight", 4),
    ],
)
def test_depth_follows_the_blocks(name: str, head: str, inner: str, stem: str, greatest: int) -> None:
    if name.startswith("timm"):
        pytest.importorskip("timm")
    depths = layer_depths(model_of(name))
    assert depths.keys() == {n for n, _ in model_of(name).named_parameters()}
    assert (depths[stem], depths[head], max(depths.values())) == (0, greatest, greatest)
    expected = {"resnet20": 5, "torchvision/resnet18": 2, "torchvision/convnext_tiny": 2, "lenet": 1}
    assert depths[inner] == expected.get(name, 4)


def test_what_stands_between_blocks_belongs_to_the_later_one() -> None:
    depths = layer_depths(model_of("torchvision/convnext_tiny"))
    assert depths["features.2.0.weight"] == depths["features.3.0.block.0.weight"] == 4


def test_layer_decay_is_that_of_beit() -> None:
    """timm's own decay of a vision transformer is the oracle, but for the last norm, which BEiT counts to the head."""
    pytest.importorskip("timm")
    from timm.optim import param_groups_layer_decay

    model = model_of("timm/vit_tiny_patch16_224")
    depths = layer_depths(model)
    scales = {id(p): g["lr_scale"] for g in param_groups_layer_decay(model, layer_decay=0.75) for p in g["params"]}
    for name, parameter in model.named_parameters():
        if not name.startswith("norm."):
            assert scales[id(parameter)] == pytest.approx(0.75 ** (13 - depths[name])), name


def test_groups_are_few_and_their_rates_are_products() -> None:
    model = model_of("resnet20")
    words = [("SOLVER.LAYER_DECAY", "0.5"), ("SOLVER.NEW_LR_FACTOR", "3")]
    filled = {n for n, _ in model.named_parameters() if not n.startswith("head")}
    optimizer = make_optimizer(load_file(None, words), model, depths=layer_depths(model), filled=filled)
    factors = {id(p): g["lr_factor"] for g in optimizer.param_groups for p in g["params"]}
    of = {name: factors[id(parameter)] for name, parameter in model.named_parameters()}
    assert of["head.weight"] == 3 and of["stages.8.conv.weight"] == 0.5 and of["stem.0.weight"] == 0.5**10
    assert len(factors) == len(of) and len(optimizer.param_groups) == 2 * 11
    with pytest.raises(UserError, match="filled none"):
        make_optimizer(load_file(None, words), model, depths=layer_depths(model))
